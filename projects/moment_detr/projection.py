"""From features to the width of the transformer, for clips and for words."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from demul_mm.models.layers import Dropout
from demul_mm.registry import MODELS


def input_projection(in_dim: int, dim: int, dropout: float) -> nn.Sequential:
    """LayerNorm, dropout and a linear layer, twice, with a ReLU between."""
    return nn.Sequential(
        nn.LayerNorm(in_dim),
        Dropout(dropout),
        nn.Linear(in_dim, dim),
        nn.ReLU(),
        nn.LayerNorm(dim),
        Dropout(dropout),
        nn.Linear(dim, dim),
    )


class Words(NamedTuple):
    """The words of ``Q`` sentences."""

    features: Tensor  # (Q, L, D)
    mask: Tensor  # (Q, L)
    position: Tensor  # (Q, L, D) what tells their order; zeros where nothing does


@MODELS.register_module()
class WordProjection(nn.Module):
    """Token features of a language model at the model's width.

    Args:
        lm: config of the token model.
        dim: width ``D``.
        dropout: before each linear layer.
        positions: size of the table of learned positions; 0 for none, since token features know
            their place already.
    """

    def __init__(self, lm: dict, dim: int = 256, dropout: float = 0.5, positions: int = 0) -> None:
        super().__init__()
        self.lm = MODELS.build(lm)
        self.project = input_projection(self.lm.out_dim, dim, dropout)
        self.positions = nn.Embedding(positions, dim) if positions else None
        self.norm = nn.LayerNorm(dim) if positions else None

    def forward(self, ids: Tensor, mask: Tensor) -> Words:
        """``(Q, L)`` token ids and mask."""
        features = self.project(self.lm(ids, mask))
        if self.positions is None or self.norm is None:
            return Words(features, mask, torch.zeros_like(features))
        place = torch.arange(ids.shape[1], device=ids.device).clamp(
            max=self.positions.num_embeddings - 1
        )
        return Words(features, mask, self.norm(self.positions(place)).expand_as(features))
