"""Searching a corpus: videos encoded one by one, the index, fusion of the survivors."""

from demul_mm.retrieval.bank import BankEntries, DatasetVideos, VideoBank, VideoSource
from demul_mm.retrieval.dialogue import Dialogue
from demul_mm.retrieval.encoding_cache import EncodingCache
from demul_mm.retrieval.encodings import (
    EncodedVideo,
    encode_batch,
    split_encoding,
    stack_encodings,
)
from demul_mm.retrieval.entries import make_entry
from demul_mm.retrieval.localizing import localize_pairs
from demul_mm.retrieval.options import SearchOptions
from demul_mm.retrieval.refining import FeedbackWeights, refine_query
from demul_mm.retrieval.searcher import CorpusAnswer, CorpusSearcher, encode_queries
from demul_mm.retrieval.session import SearchSession
from demul_mm.retrieval.session_state import MomentRef, SessionOptions

__all__ = [
    'BankEntries',
    'CorpusAnswer',
    'CorpusSearcher',
    'DatasetVideos',
    'Dialogue',
    'EncodedVideo',
    'EncodingCache',
    'FeedbackWeights',
    'MomentRef',
    'SearchOptions',
    'SearchSession',
    'SessionOptions',
    'VideoBank',
    'VideoSource',
    'encode_batch',
    'encode_queries',
    'localize_pairs',
    'make_entry',
    'refine_query',
    'split_encoding',
    'stack_encodings',
]
