"""Corpus indexes: where the moments of many videos are searched by vectors."""

from demul_mm.index.base import MomentIndex
from demul_mm.index.entry import EntrySource, VideoEntry
from demul_mm.index.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexMismatchError,
    IndexStorageError,
)
from demul_mm.index.exact import ExactIndex
from demul_mm.index.faiss_index import FaissIndex
from demul_mm.index.filters import SearchFilter, parse_condition
from demul_mm.index.milvus_index import MilvusIndex
from demul_mm.index.prototypes import select_prototypes
from demul_mm.index.results import MomentHits, SearchResult

__all__ = [
    'EntrySource',
    'ExactIndex',
    'FaissIndex',
    'IndexDamagedError',
    'IndexFormatError',
    'IndexLockedError',
    'IndexMismatchError',
    'IndexStorageError',
    'MilvusIndex',
    'MomentHits',
    'MomentIndex',
    'SearchFilter',
    'SearchResult',
    'VideoEntry',
    'parse_condition',
    'select_prototypes',
]
