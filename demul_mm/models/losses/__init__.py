"""Losses."""

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
)
from demul_mm.models.losses.retrieval import RetrievalLoss

__all__ = [
    'CrossCorrelationLoss',
    'FusionDistillation',
    'ListwiseLoss',
    'ModalityConfusionLoss',
    'MultiPositiveInfoNCE',
    'QualityFocalLoss',
    'RetrievalLoss',
    'SpanDIoULoss',
    'segment_logsumexp',
]
