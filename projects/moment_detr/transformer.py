"""The transformer of DETR: positions are added to queries and keys in every layer."""

import math

import torch
from torch import Tensor, nn

from demul_mm.models.layers import Dropout


def sine_positions(mask: Tensor, dim: int, temperature: float = 10_000.0) -> Tensor:
    """Sines and cosines of the place of each clip as a share of its video: ``(V, T, D)``.

    Args:
        mask: ``(V, T)``.
        dim: width ``D``, even.
        temperature: ratio of the longest to the shortest wave.
    """
    place = mask.float().cumsum(1)
    place = place / place[:, -1:].clamp(min=1) * 2 * math.pi
    band = torch.arange(dim // 2, device=mask.device) * 2 / dim
    angle = place[..., None] / temperature**band
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(2)


def feed_forward(dim: int, hidden: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, linear."""
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, dim)
    )


class Attention(nn.MultiheadAttention):
    """Attention whose result alone is asked for."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout=dropout, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """``query (Q, N, D)``, ``key`` and ``value (Q, M, D)``, ``mask (Q, M)`` True = seen."""
        return super().forward(query, key, value, key_padding_mask=~mask, need_weights=False)[0]


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward net, each added and normalised."""

    def __init__(self, dim: int, heads: int = 8, hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.ffn = feed_forward(dim, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, position: Tensor) -> Tensor:
        """``x``, ``position (Q, N, D)`` and ``mask (Q, N)``."""
        placed = x + position
        x = self.norms[0](x + self.dropout(self.attention(placed, placed, x, mask)))
        return self.norms[1](x + self.dropout(self.ffn(x)))


class DecoderLayer(nn.Module):
    """Attention among the moment queries, then to the memory, then a feed-forward net."""

    def __init__(self, dim: int, heads: int = 8, hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.own = Attention(dim, heads, dropout)
        self.cross = Attention(dim, heads, dropout)
        self.ffn = feed_forward(dim, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, place: Tensor, memory: Tensor, mask: Tensor, position: Tensor
    ) -> Tensor:
        """``x``, its ``place (Q, N, D)``; ``memory``, its ``position (Q, M, D)``, ``mask``."""
        everyone = mask.new_ones(x.shape[:2])
        placed = x + place
        x = self.norms[0](x + self.dropout(self.own(placed, placed, x, everyone)))
        seen = self.cross(x + place, memory + position, memory, mask)
        x = self.norms[1](x + self.dropout(seen))
        return self.norms[2](x + self.dropout(self.ffn(x)))


def spread(module: nn.Module) -> None:
    """Xavier's uniform weights for every matrix."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def mlp(dim: int, out_dim: int) -> nn.Sequential:
    """Three linear layers with ReLU between."""
    return nn.Sequential(
        nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out_dim)
    )
