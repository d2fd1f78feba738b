"""Data samples and the span arithmetic that everything else shares."""

from demul_mm.structures.moment_data_sample import MomentDataSample
from demul_mm.structures.spans import pairwise_iou, span_iou

__all__ = ['MomentDataSample', 'pairwise_iou', 'span_iou']
