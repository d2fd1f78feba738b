"""Losses."""

from demul_mm.models.losses.criterion import MomentCriterion, TrainingBatch
from demul_mm.models.losses.localization import (
    FusionDistillation,
    ListwiseLoss,
    QualityFocalLoss,
    SpanDIoULoss,
    segment_logsumexp,
)
from demul_mm.models.losses.representation import (
    CrossCorrelationLoss,
    ModalityConfusionLoss,
    MultiPositiveInfoNCE,
    phrase_overlap,
)
from demul_mm.models.losses.retrieval import RetrievalLoss

__all__ = [
    'CrossCorrelationLoss',
    'FusionDistillation',
    'ListwiseLoss',
    'ModalityConfusionLoss',
    'MomentCriterion',
    'MultiPositiveInfoNCE',
    'QualityFocalLoss',
    'RetrievalLoss',
    'SpanDIoULoss',
    'TrainingBatch',
    'phrase_overlap',
    'segment_logsumexp',
]
