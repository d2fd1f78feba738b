"""A text as a bag of its words."""

import re

import torch
from torch import Tensor, nn

from demul_mm.models.backbones.bare_words import word_pieces
from demul_mm.registry import MODELS
from demul_mm.stems import stem

# Pieces that are the end of a word and not more.
ENDING = re.compile(r'##.?.?$')


@MODELS.register_module()
class HashedWords(nn.Module):
    """The words of a text as buckets, one for all forms of a word.

    Word pieces with one stem (Snowball's for English) fall into the bucket ``id % dim`` of the most
    common of them. The vocabularies of BERT are sorted by how common a piece is, so that the
    ``dim`` most common ones never meet. Special tokens, punctuation and the short endings of words
    (``##s``, ``##ed``) have no bucket.

    Args:
        name: as in ``TransformersLM``: the language model whose tokenizer makes the ids.
        dim: number of buckets, a multiple of 8.

    Raises:
        ValueError: a ``dim`` that is none, or a tokenizer of another form.
    """

    buckets: Tensor  # (W,) int64, -1 for none

    def __init__(self, name: str = 'minilm', dim: int = 1024) -> None:
        super().__init__()
        if dim < 8 or dim % 8:
            raise ValueError(f'dim is {dim}; give a multiple of 8')
        self.out_dim = dim
        first: dict[str, int] = {}
        buckets = [
            first.setdefault(stem(piece), i) % dim if piece and not ENDING.match(piece) else -1
            for i, piece in enumerate(word_pieces(name))
        ]
        self.register_buffer('buckets', torch.tensor(buckets), persistent=False)

    def of(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The bucket ``(Q, L)`` of each token ``ids (Q, L)``; -1 for none, and outside ``mask``."""
        return self.buckets[ids].masked_fill(~mask, -1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens to ``(Q, L, out_dim)``, one where a token's bucket is and zeros elsewhere."""
        found = self.of(ids, mask)[..., None]
        return (found == torch.arange(self.out_dim, device=ids.device)).float()
