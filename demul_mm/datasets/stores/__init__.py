"""Stores of pre-extracted features."""

from demul_mm.datasets.stores.base import FeatureStore
from demul_mm.datasets.stores.folder import FolderStore
from demul_mm.datasets.stores.hdf5 import HDF5Store
from demul_mm.datasets.stores.lmdb import LMDBStore
from demul_mm.datasets.stores.packed import PackedStore, PackedWriter

__all__ = ['FeatureStore', 'FolderStore', 'HDF5Store', 'LMDBStore', 'PackedStore', 'PackedWriter']
