"""Attention whose cost is linear in the length of the video."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def masked_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the valid entries; all zeros, not NaN, where none is valid.

    Args:
        mask: broadcastable to ``logits``, True = valid.
        dim: the axis that sums to 1.
    """
    logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    return logits.softmax(dim) * mask


class LocalAttention(nn.Module):
    """Self-attention in a window of ``radius`` clips to either side, with a relative position bias.

    The sequence is cut into blocks of ``radius`` clips; each block attends to itself and to its two
    neighbours, so time and memory are ``O(T * radius)``. Block borders lie at fixed positions, so
    padding a sequence does not change its valid part.

    Args:
        dim: width, a multiple of ``num_heads``.
        num_heads: heads.
        radius: clips seen on either side.
    """

    in_window: Tensor
    offset: Tensor

    def __init__(self, dim: int, num_heads: int = 4, radius: int = 8) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'dim {dim} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.radius = radius
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.position_bias = nn.Parameter(torch.zeros(num_heads, 2 * radius + 1))
        # Offset of key j of the three blocks from query i of the middle one.
        offset = torch.arange(3 * radius)[None] - radius - torch.arange(radius)[:, None]
        self.register_buffer('in_window', offset.abs() <= radius, persistent=False)
        self.register_buffer('offset', offset.clamp(-radius, radius) + radius, persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (V, T, D)``, ``mask (V, T)`` to ``(V, T, D)``."""
        num, length, dim = x.shape
        size = self.radius
        pad = -length % size
        blocks = (length + pad) // size
        qkv = F.pad(self.qkv(x), (0, 0, 0, pad))
        query, key, value = qkv.view(num, blocks, size, 3, self.num_heads, -1).unbind(3)
        valid = F.pad(mask, (0, pad)).view(num, blocks, size)
        query = query.transpose(2, 3)  # (V, B, H, w, d)
        key, value = (self._with_neighbours(t).transpose(2, 3) for t in (key, value))
        seen = self._with_neighbours(valid)[:, :, None, None] & self.in_window
        bias = self.position_bias[:, self.offset].to(query.dtype)
        # A row that sees nothing attends to everything; its output is masked by the caller.
        bias = bias.masked_fill(~seen, -1e4)
        out = F.scaled_dot_product_attention(
            query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), bias.flatten(0, 1)
        )
        out = out.transpose(1, 2).reshape(num, blocks * size, dim)[:, :length]
        return self.out(out)

    @staticmethod
    def _with_neighbours(x: Tensor) -> Tensor:
        """``(V, B, w, ...)`` to ``(V, B, 3w, ...)``: each block between its neighbours."""
        zero = torch.zeros_like(x[:, :1])
        return torch.cat(
            [torch.cat([zero, x[:, :-1]], 1), x, torch.cat([x[:, 1:], zero], 1)], dim=2
        )
