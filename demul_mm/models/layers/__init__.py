"""Building blocks that several parts of the model share."""

from demul_mm.models.layers.attention import LocalAttention, masked_softmax
from demul_mm.models.layers.dropout import Dropout
from demul_mm.models.layers.temporal import NeighbourMix, TemporalBlock, relative_position

__all__ = [
    'Dropout',
    'LocalAttention',
    'NeighbourMix',
    'TemporalBlock',
    'masked_softmax',
    'relative_position',
]
