"""Heads: from features to moments."""

from demul_mm.models.heads.joint_score import TERMS, JointScore
from demul_mm.models.heads.profile import CurveProfile
from demul_mm.models.heads.proposal import ProposalHead
from demul_mm.models.heads.span_candidates import SparseMapCandidates, StartEndCandidates
from demul_mm.models.heads.unified import UnifiedMomentHead

__all__ = [
    'TERMS',
    'CurveProfile',
    'JointScore',
    'ProposalHead',
    'SparseMapCandidates',
    'StartEndCandidates',
    'UnifiedMomentHead',
]
