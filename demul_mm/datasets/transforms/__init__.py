"""Steps of a data pipeline."""

from demul_mm.datasets.transforms.decode_clips import LoadVideoClips
from demul_mm.datasets.transforms.formatting import PackMomentInputs
from demul_mm.datasets.transforms.load_feature import LoadVideoFeature
from demul_mm.datasets.transforms.resample import ResampleClips, resample_rows
from demul_mm.datasets.transforms.sample_queries import SampleQueries

__all__ = [
    'LoadVideoClips',
    'LoadVideoFeature',
    'PackMomentInputs',
    'ResampleClips',
    'SampleQueries',
    'resample_rows',
]
