"""Candidates beside the pyramid's points: spans of a sparse 2-D map, and pairs of borders."""

import torch
from torch import Tensor, nn

from demul_mm.registry import MODELS
from demul_mm.structures import running_sum


class SpanPooling(nn.Module):
    """What a span holds: the mean of its clips, its first clip and its last one.

    The mean comes from one cumulative sum, so a span costs the same however long it is.

    Args:
        dim: width ``D``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(3 * dim, dim)

    def forward(self, clips: Tensor, spans: Tensor) -> Tensor:
        """``clips (R, T, D)`` and ``spans (R, P, 2)`` in clips to ``(R, P, D)``."""
        length, dim = clips.shape[1:]
        first = spans[..., 0].round().long().clamp(0, length - 1)
        last = torch.maximum(spans[..., 1].round().long() - 1, first).clamp(max=length - 1)

        def at(table: Tensor, place: Tensor) -> Tensor:
            return table.gather(1, place[..., None].expand(-1, -1, dim))

        total = nn.functional.pad(running_sum(clips.float()), (0, 0, 1, 0))  # (R, T + 1, D)
        mean = (at(total, last + 1) - at(total, first)) / (last + 1 - first)[..., None]
        return self.project(
            torch.cat([mean.to(clips.dtype), at(clips, first), at(clips, last)], -1)
        )


@MODELS.register_module()
class SparseMapCandidates(nn.Module):
    """Spans on a grid of ``size`` parts of the video: all short ones, fewer of the long ones.

    The sparse form of the 2-D temporal map (Zhang et al., 2D-TAN, 2020, section 3.3).

    Args:
        dim: width ``D``.
        size: parts of the video.
        lengths: lengths of the spans in parts; a span of ``l`` parts starts at every
            ``max(1, l // 4)``-th part.
    """

    grid: Tensor

    def __init__(
        self,
        dim: int = 128,
        size: int = 16,
        lengths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16),
    ) -> None:
        super().__init__()
        if not lengths or min(lengths) < 1 or max(lengths) > size:
            raise ValueError(f'lengths are {lengths}; each must be from 1 to size={size}')
        grid = [
            (first / size, (first + length) / size)
            for length in lengths
            for first in range(0, size - length + 1, max(1, length // 4))
        ]
        self.register_buffer('grid', torch.tensor(grid), persistent=False)
        self.pool = SpanPooling(dim)

    def forward(
        self, clips: Tensor, start: Tensor, end: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates of ``R`` pairs.

        Args:
            clips: ``(R, T, D)`` fused clips.
            start: ``(R, T)`` logit of each clip holding the start; not read.
            end: ``(R, T)`` likewise.
            mask: ``(R, T)`` valid clips.

        Returns:
            features ``(R, P, D)``, spans ``(R, P, 2)`` in clips and mask ``(R, P)``.
        """
        spans = self.grid * mask.sum(1)[:, None, None]
        return self.pool(clips, spans), spans, mask.any(1, keepdim=True).expand(spans.shape[:2])


@MODELS.register_module()
class StartEndCandidates(nn.Module):
    """Every likely start with every likely end after it.

    Args:
        dim: width ``D``.
        num_borders: starts and ends taken, by their logits; ``P`` is its square.
    """

    def __init__(self, dim: int = 128, num_borders: int = 8) -> None:
        super().__init__()
        if num_borders < 1:
            raise ValueError(f'num_borders is {num_borders}; it must be at least 1')
        self.num_borders = num_borders
        self.pool = SpanPooling(dim)

    def forward(
        self, clips: Tensor, start: Tensor, end: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Like :meth:`SparseMapCandidates.forward`; the clip inside the moment holds its border."""
        number = min(self.num_borders, clips.shape[1])
        first, last = (
            logit.detach().masked_fill(~mask, torch.finfo(logit.dtype).min).topk(number, 1).indices
            for logit in (start, end)
        )
        pair = (len(clips), number, number)
        spans = torch.stack(
            [first[:, :, None].expand(pair), last[:, None].expand(pair) + 1], -1
        ).flatten(1, 2)
        valid = (spans[..., 0] < spans[..., 1]) & (spans[..., 1] <= mask.sum(1, keepdim=True))
        valid &= spans[..., 0] < mask.sum(1, keepdim=True)
        unit = torch.arange(2, device=spans.device)  # the first clip
        spans = torch.where(valid[..., None], spans, unit).to(start.dtype)
        return self.pool(clips, spans), spans, valid
