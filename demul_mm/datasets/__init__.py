"""Data sets of videos with moments and sentences, feature stores, transforms and samplers."""

from demul_mm.datasets import samplers, transforms
from demul_mm.datasets.activitynet import ActivityNetCaptionsDataset
from demul_mm.datasets.annotations import AnnotationError
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.jsonl import JsonlMomentDataset, validate_jsonl
from demul_mm.datasets.stores import FeatureStore, FolderStore, PackedStore, PackedWriter

__all__ = [
    'ActivityNetCaptionsDataset',
    'AnnotationError',
    'FeatureStore',
    'FolderStore',
    'JsonlMomentDataset',
    'MomentDataset',
    'PackedStore',
    'PackedWriter',
    'samplers',
    'transforms',
    'validate_jsonl',
]
