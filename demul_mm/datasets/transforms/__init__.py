"""Steps of a data pipeline."""

from demul_mm.datasets.transforms.actions import ActionQueries
from demul_mm.datasets.transforms.augment import (
    Augmentation,
    ClipDrop,
    SpeedChange,
    TemporalCrop,
    WordDrop,
)
from demul_mm.datasets.transforms.formatting import PackMomentInputs
from demul_mm.datasets.transforms.load_clips import LoadVideoClips
from demul_mm.datasets.transforms.load_feature import LoadVideoFeature
from demul_mm.datasets.transforms.normalize import NormalizeRows
from demul_mm.datasets.transforms.resample import ResampleClips, resample_rows
from demul_mm.datasets.transforms.reword import RewordQueries
from demul_mm.datasets.transforms.sample_queries import SampleQueries
from demul_mm.datasets.transforms.splice import SpliceMoment

__all__ = [
    'ActionQueries',
    'Augmentation',
    'ClipDrop',
    'LoadVideoClips',
    'LoadVideoFeature',
    'NormalizeRows',
    'PackMomentInputs',
    'ResampleClips',
    'RewordQueries',
    'SampleQueries',
    'SpeedChange',
    'SpliceMoment',
    'TemporalCrop',
    'WordDrop',
    'resample_rows',
]
