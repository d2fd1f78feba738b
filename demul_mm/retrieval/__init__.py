"""Searching a corpus: videos encoded one by one, the index, fusion of the survivors."""

from demul_mm.retrieval.bank import BankEntries, DatasetVideos, VideoBank, VideoSource
from demul_mm.retrieval.cache import EncodingCache
from demul_mm.retrieval.encodings import (
    EncodedVideo,
    encode_batch,
    split_encoding,
    stack_encodings,
)
from demul_mm.retrieval.entries import iter_video_entries, make_entry
from demul_mm.retrieval.fusion import localize_pairs
from demul_mm.retrieval.search import CorpusAnswer, CorpusMoment, CorpusSearcher, encode_queries

__all__ = [
    'BankEntries',
    'CorpusAnswer',
    'CorpusMoment',
    'CorpusSearcher',
    'DatasetVideos',
    'EncodedVideo',
    'EncodingCache',
    'VideoBank',
    'VideoSource',
    'encode_batch',
    'encode_queries',
    'iter_video_entries',
    'localize_pairs',
    'make_entry',
    'split_encoding',
    'stack_encodings',
]
