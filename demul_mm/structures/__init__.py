"""Data samples, typed tuples and the span arithmetic that everything else shares."""

from demul_mm.structures.encodings import (
    FusedPairs,
    MomentCandidates,
    PhraseMap,
    QueryEncoding,
    VideoEncoding,
)
from demul_mm.structures.moment import Moment
from demul_mm.structures.moment_data_sample import MomentDataSample
from demul_mm.structures.names import as_names, is_unicode
from demul_mm.structures.spans import is_length, mean_over, pairwise_iou, running_sum, span_iou

__all__ = [
    'FusedPairs',
    'Moment',
    'MomentCandidates',
    'MomentDataSample',
    'PhraseMap',
    'QueryEncoding',
    'VideoEncoding',
    'as_names',
    'is_length',
    'is_unicode',
    'mean_over',
    'pairwise_iou',
    'running_sum',
    'span_iou',
]
