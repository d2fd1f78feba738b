"""The sparse two-dimensional map of moments: a row for each first clip, a column for each last."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sparse_lengths(num_clips: int, dense: int = 16) -> list[tuple[int, int]]:
    """``(length, stride)`` of the moments on the map, shortest first.

    Moments of up to ``dense`` clips start anywhere. Above that, each doubling of the length halves
    how finely lengths and starts are told (Zhang et al., "2D-TAN", AAAI 2020, section 3.2).
    """
    found = [(length, 1) for length in range(1, min(num_clips, dense) + 1)]
    stride = 2
    while stride * dense // 2 < num_clips:
        first, last = stride * (dense // 2 + 1), min(stride * dense, num_clips)
        found += [(length, stride) for length in range(first, last + 1, stride)]
        stride *= 2
    return found


def share_of_parts(mask: Tensor, num_parts: int) -> Tensor:
    """What clips give to the means over ``N`` equal parts of each video: ``(V, N, T)``.

    Args:
        mask: ``(V, T)`` valid clips.
        num_parts: ``N``.
    """
    part = mask.sum(1).clamp(min=1)[:, None, None] / num_parts  # clips in each
    start = torch.arange(num_parts, device=mask.device)[:, None] * part  # (V, N, 1)
    clip = torch.arange(mask.shape[1], device=mask.device)
    inside = torch.minimum(start + part, clip + 1) - torch.maximum(start, clip)
    return inside.clamp(min=0) / part * mask[:, None]


class MomentMap(nn.Module):
    """Features of the ``M`` moments of a video that is divided into ``N`` equal clips.

    Args:
        num_clips: ``N``.
    """

    cells: Tensor
    spans: Tensor
    valid: Tensor

    def __init__(self, num_clips: int) -> None:
        super().__init__()
        self.num_clips = num_clips
        self.lengths = dict(sparse_lengths(num_clips))
        moments = [
            (start, start + length)
            for length, stride in self.lengths.items()
            for start in range(0, num_clips - length + 1, stride)
        ]
        borders = torch.tensor(moments)  # (M, 2)
        cells = borders[:, 0] * num_clips + borders[:, 1] - 1
        valid = torch.zeros(num_clips**2).index_fill(0, cells, 1.0).view(num_clips, num_clips)
        self.register_buffer('cells', cells, persistent=False)  # (M,) place on the flat map
        self.register_buffer('spans', borders / num_clips, persistent=False)  # (M, 2) in [0, 1]
        self.register_buffer('valid', valid, persistent=False)  # (N, N)

    def forward(self, x: Tensor) -> Tensor:
        """The largest values over the clips of each moment: ``(V, N, D)`` to ``(V, D, N, N)``."""
        x = x.transpose(1, 2)  # (V, D, N)
        window, pooled = x, []
        for length in range(1, self.num_clips + 1):
            if length > 1:
                window = torch.maximum(window[..., :-1], x[..., length - 1 :])
            if length in self.lengths:
                pooled.append(window[..., :: self.lengths[length]])
        size = self.num_clips
        empty = x.new_zeros(*x.shape[:2], size * size)
        return empty.index_copy(2, self.cells, torch.cat(pooled, 2)).unflatten(2, (size, size))

    def take(self, field: Tensor) -> Tensor:
        """The moments of a map: ``(..., N, N)`` to ``(..., M)``."""
        return field.flatten(-2)[..., self.cells]


class MapConvolutions(nn.Module):
    """Convolutions over the map; cells without a moment stay zero.

    Args:
        dim: channels.
        num_layers: convolutions.
        kernel_size: width of each, odd.
    """

    def __init__(self, dim: int, num_layers: int, kernel_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2) for _ in range(num_layers)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(Q, D, N, N)``, ``valid (N, N)``."""
        for layer in self.layers:
            x = F.relu(layer(x)) * valid
        return x


def scaled_iou(iou: Tensor, low: float, high: float) -> Tensor:
    """0 up to ``low``, 1 from ``high``, linear between."""
    return ((iou - low) / (high - low)).clamp(0, 1)
