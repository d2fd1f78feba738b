"""QD-DETR."""

from projects.moment_detr import SetMatcher, WordProjection
from projects.qd_detr.model import QDDETR

__all__ = ['QDDETR', 'SetMatcher', 'WordProjection']
