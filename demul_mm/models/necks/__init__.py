"""Between the encoders and the head: pyramid, decoupler, fusion."""

from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.models.necks.decoupler import SemanticDecoupler
from demul_mm.models.necks.fusion import ProgressiveFusion
from demul_mm.models.necks.pyramid import TemporalPyramid
from demul_mm.models.necks.similarity_reader import SimilarityReader
from demul_mm.models.necks.word_match import WordMatch

__all__ = [
    'AlignedStream',
    'ProgressiveFusion',
    'SemanticDecoupler',
    'SimilarityReader',
    'TemporalPyramid',
    'WordMatch',
]
