"""Data sets of videos with moments and sentences, feature stores, transforms and samplers."""

from demul_mm.datasets import samplers, transforms
from demul_mm.datasets.activitynet import ActivityNetCaptionsDataset
from demul_mm.datasets.annotations import AnnotationError
from demul_mm.datasets.base import MomentDataset
from demul_mm.datasets.charades import CharadesCDDataset, CharadesSTADataset
from demul_mm.datasets.concat import ConcatDataset
from demul_mm.datasets.didemo import DiDeMoDataset
from demul_mm.datasets.jsonl import JsonlMomentDataset, validate_jsonl
from demul_mm.datasets.qvhighlights import QVHighlightsDataset
from demul_mm.datasets.stores import (
    FeatureStore,
    FolderStore,
    HDF5Store,
    LMDBStore,
    PackedStore,
    PackedWriter,
)
from demul_mm.datasets.tacos import TACoSDataset
from demul_mm.datasets.tvr import TVRDataset

__all__ = [
    'ActivityNetCaptionsDataset',
    'AnnotationError',
    'CharadesCDDataset',
    'CharadesSTADataset',
    'ConcatDataset',
    'DiDeMoDataset',
    'FeatureStore',
    'FolderStore',
    'HDF5Store',
    'JsonlMomentDataset',
    'LMDBStore',
    'MomentDataset',
    'PackedStore',
    'PackedWriter',
    'QVHighlightsDataset',
    'TACoSDataset',
    'TVRDataset',
    'samplers',
    'transforms',
    'validate_jsonl',
]
