"""Between the encoders and the head: pyramid, decoupler, fusion."""

from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.models.necks.decoupler import SemanticDecoupler
from demul_mm.models.necks.fusion import ProgressiveFusion
from demul_mm.models.necks.match_reader import MatchReader
from demul_mm.models.necks.pyramid import TemporalPyramid

__all__ = [
    'AlignedStream',
    'MatchReader',
    'ProgressiveFusion',
    'SemanticDecoupler',
    'TemporalPyramid',
]
