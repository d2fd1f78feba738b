"""Temporal building blocks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers.attention import LocalAttention
from demul_mm.models.layers.dropout import Dropout
from demul_mm.models.task_modules.points import PyramidPoints


def relative_position(num_clips: Tensor, length: int, num_bands: int = 8) -> Tensor:
    """Fourier features of where in its video a clip lies.

    Args:
        num_clips: ``(V,)`` valid clips of each video.
        length: padded clips ``T``.
        num_bands: frequencies pi, 2 pi, ..., ``num_bands`` pi.

    Returns:
        ``(V, T, 2 * num_bands)``.
    """
    clip = torch.arange(length, device=num_clips.device) + 0.5
    fraction = clip[None] / num_clips[:, None].clamp(min=1)
    bands = torch.arange(1, num_bands + 1, device=num_clips.device) * math.pi
    angle = fraction[..., None] * bands
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class NeighbourMix(nn.Module):
    """Depthwise convolution of width 3 over the cells of each pyramid level at once.

    Written with shifts along the concatenated levels, which no border between levels crosses: one
    pass instead of one call for each level. Invalid cells must hold zeros.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, dim))

    def forward(self, x: Tensor, points: PyramidPoints) -> Tensor:
        """``(R, M, D)`` to ``(R, M, D)``."""
        weight = self.weight.to(x.dtype)
        from_left = x[:, :-1] * (points.has_left[1:, None] * weight[0])  # (R, M - 1, D)
        from_right = x[:, 1:] * (points.has_right[:-1, None] * weight[2])
        return x * weight[1] + F.pad(from_left, (0, 0, 1, 0)) + F.pad(from_right, (0, 0, 0, 1))


class TemporalBlock(nn.Module):
    """Pre-norm block: windowed attention beside a depthwise convolution, then a feed-forward net.

    Args:
        dim: width.
        num_heads: attention heads.
        radius: attention window to either side, in clips of the level.
        dropout: rate on both residual branches.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        radius: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = LocalAttention(dim, num_heads, radius)
        self.conv = nn.Conv1d(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(
            nn.Linear(dim, 2 * dim),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(2 * dim, dim),
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (V, T, D)`` with zeros where ``mask (V, T)`` is False; so is the result."""
        keep = mask[..., None].to(x.dtype)
        y = self.norm1(x) * keep
        local = self.conv(y.transpose(1, 2)).transpose(1, 2)
        x = x + self.dropout(self.attention(y, mask) + local)
        x = x + self.dropout(self.ffn(self.norm2(x)))
        return x * keep
