"""Query-free proposals: where a moment around a pyramid cell is likely to start and end."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS


def decode_distances(
    distance: Tensor, centers: Tensor, strides: Tensor, num_clips: Tensor
) -> Tensor:
    """Distances from the cells' centres to spans inside the video.

    Args:
        distance: ``(R, M, 2)`` to start and end, at least 0, in strides of the cell.
        centers: ``(M,)`` or ``(R, M)`` middle of each cell, in clips.
        strides: like ``centers``, length of each cell.
        num_clips: ``(R,)``.

    Returns:
        ``(R, M, 2)`` in clips.
    """
    stop = num_clips[:, None].to(distance.dtype)  # (R, 1)
    low = centers - strides / 2
    # A cell that the video's end cuts has its centre in the middle of what is left.
    center = (low + torch.minimum(low + strides, stop)) / 2
    start = (center - distance[..., 0] * strides).clamp(min=0)
    end = torch.minimum(center + distance[..., 1] * strides, stop)
    return torch.stack([start, end], -1)


@MODELS.register_module()
class ProposalHead(nn.Module):
    """Distances to start and end from the video's features alone.

    It gives the spans of the index's moments, and the fusion head a start to refine.

    Args:
        dim: width ``D``.
    """

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        distances = nn.Linear(dim, 2)
        nn.init.constant_(distances.bias, 2.0)
        self.place = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), distances)

    def forward(self, x: Tensor, points: PyramidPoints, num_clips: Tensor) -> Tensor:
        """``x (V, M, D)`` to spans ``(V, M, 2)`` in [0, 1]."""
        distance = F.softplus(self.place(x).float())
        spans = decode_distances(distance, points.centers, points.strides, num_clips)
        return spans / num_clips[:, None, None].clamp(min=1)
