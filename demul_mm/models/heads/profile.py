"""What the query's curves look like around each candidate."""

import torch
from torch import Tensor, nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class CurveProfile(nn.Module):
    """Sample per-clip curves of a pair at fixed places around each candidate.

    A candidate sees where the moment rises and falls in a window of its own scale, so that placing
    its borders is the same easy task for every query; the curves, not the wide features, carry what
    the query asks for. Costs ``K * places * channels`` a pair.

    Args:
        dim: width ``D`` of the result.
        channels: curves ``C``.
        places: sampled places, odd: the middle one is the candidate's centre.
        reach: the outer places, in strides of the candidate's cell.
    """

    offsets: Tensor

    def __init__(
        self, dim: int = 128, channels: int = 8, places: int = 25, reach: float = 4.0
    ) -> None:
        super().__init__()
        self.register_buffer('offsets', torch.linspace(-reach, reach, places), persistent=False)
        self.project = nn.Linear(places * (channels + 1), dim)

    def forward(self, curves: Tensor, mask: Tensor, centers: Tensor, strides: Tensor) -> Tensor:
        """Profiles of ``K`` candidates of each of ``R`` pairs.

        Args:
            curves: ``(R, T, C)``, the value of clip ``t`` standing at ``t + 0.5``.
            mask: ``(R, T)``.
            centers: ``(R, K)`` in clips.
            strides: ``(R, K)`` in clips.

        Returns:
            ``(R, K, D)``.
        """
        rows, length, channels = curves.shape
        keep = mask[..., None].to(curves.dtype)
        table = torch.cat([curves * keep, keep], -1)  # the last channel tells what is video
        x = (centers[..., None] + strides[..., None] * self.offsets - 0.5).flatten(1)
        last = mask.sum(1, keepdim=True).clamp(min=1) - 1.0  # not of the padding
        inside = ((x > -0.5) & (x < last + 0.5))[..., None].to(curves.dtype)
        x = torch.minimum(x.clamp(min=0), last)  # (R, K * places)
        low = x.floor()
        part = (x - low)[..., None].to(curves.dtype)
        first = low.long()[..., None].expand(-1, -1, channels + 1)
        second = (first + 1).clamp(max=length - 1)
        sampled = table.gather(1, first) * (1 - part) + table.gather(1, second) * part
        sampled = (sampled * inside).view(rows, centers.shape[1], -1)
        return self.project(sampled)
