"""What the query's curves look like around each candidate."""

import torch
import torch.nn.functional as F
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
        if places < 1 or places % 2 == 0:
            raise ValueError(f'places is {places}; it must be odd, to have one in the middle')
        self.register_buffer('offsets', torch.linspace(-reach, reach, places), persistent=False)
        self.project = nn.Linear(places * (channels + 1), dim)

    def forward(self, curves: Tensor, mask: Tensor, centers: Tensor, strides: Tensor) -> Tensor:
        """Profiles of ``K`` candidates of each of ``R`` pairs.

        Args:
            curves: ``(R, T, C)``, the value of clip ``t`` standing at ``t + 0.5``, linear between
                and falling to 0 outside of the video.
            mask: ``(R, T)``.
            centers: ``(R, K)`` in clips.
            strides: ``(R, K)`` in clips.

        Returns:
            ``(R, K, D)``.
        """
        num, length, _ = curves.shape
        keep = mask[..., None].float()
        table = torch.cat([curves * keep, keep], -1)  # the last channel tells what is video
        rows = F.pad(table, (0, 0, 1, 2)).flatten(0, 1)  # zeros before and after each video
        places = centers[..., None] + strides[..., None] * self.offsets  # (R, K, P) in clips
        at = (places + 0.5).clamp(0, length + 1)  # clip t stands in row t + 1
        low = at.floor()
        first = torch.arange(num, device=at.device)[:, None, None] * (length + 3)
        index = (low.long().clamp(0, length + 1) + first).flatten()  # a place may be no number
        # Rows by number, not grid_sample, whose gradient is not deterministic on GPUs.
        sampled = torch.lerp(
            rows.index_select(0, index),
            rows.index_select(0, index + 1),
            (at - low).reshape(-1, 1),
        )
        return self.project(sampled.view(*centers.shape, -1))
