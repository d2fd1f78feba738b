"""Data samples, typed tuples and the span arithmetic that everything else shares."""

from demul_mm.structures.encodings import (
    FusedPairs,
    MomentCandidates,
    PhraseMap,
    QueryEncoding,
    VideoEncoding,
)
from demul_mm.structures.moment_data_sample import MomentDataSample
from demul_mm.structures.names import as_names
from demul_mm.structures.spans import mean_over, pairwise_iou, running_sum, span_iou

__all__ = [
    'FusedPairs',
    'MomentCandidates',
    'MomentDataSample',
    'PhraseMap',
    'QueryEncoding',
    'VideoEncoding',
    'as_names',
    'mean_over',
    'pairwise_iou',
    'running_sum',
    'span_iou',
]
