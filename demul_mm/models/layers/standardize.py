"""Features without what all clips have in common."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

SMALLEST = 0.05
"""Of the usual spread: values that hardly vary are not blown up to it."""


class Standardize(nn.Module):
    """Unit vectors, less the mean of the training clips, each value by its spread over them.

    Most of a clip's vector is the same in all clips (two thirds of CLIP's energy, and another fifth
    is the same in all clips of a video), which dropout then turns into noise. Means are over all
    training batches so far, not the batch's own: a video alone is read as among others.

    Args:
        dim: width ``E`` of the features.
    """

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(dim))
        self.register_buffer('square', torch.ones(dim) / dim)
        self.register_buffer('seen', torch.zeros(()))  # clips that both are of

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (V, T, E)`` and ``mask (V, T)`` to ``(V, T, E)`` float32.

        Clips of zeros (dropped, or where nothing is said) do not count and stay zero.
        """
        keep = (mask & (x != 0).any(-1))[..., None].float()
        unit = F.normalize(x.float(), dim=-1) * keep
        if self.training:
            self._learn(unit.flatten(0, 1), keep.sum())
        spread = (self.square - self.mean.square()).clamp(min=0).sqrt()
        return (unit - self.mean) / spread.clamp(min=SMALLEST * spread.mean()) * keep

    @torch.no_grad()
    def _learn(self, unit: Tensor, number: Tensor) -> None:
        """Take ``unit (N, E)``, of which ``number`` rows are not zero, into the means."""
        sums = torch.cat([unit.sum(0), unit.square().sum(0), number[None]])
        all_reduce(sums)  # the same for all ranks
        total, squares, number = sums[: len(self.mean)], sums[len(self.mean) : -1], sums[-1]
        self.seen += number
        share = number / self.seen.clamp(min=1)
        self.mean += share * (total / number.clamp(min=1) - self.mean)
        self.square += share * (squares / number.clamp(min=1) - self.square)
