"""The temporal pyramid: the video at several time scales."""

import torch
from torch import Tensor, nn

from demul_mm.models.layers import TemporalBlock
from demul_mm.registry import MODELS


@MODELS.register_module()
class TemporalPyramid(nn.Module):
    """Halve the clip axis again and again, with a temporal block at each level.

    Args:
        dim: width ``D``.
        num_levels: levels; the last has stride ``2 ** (num_levels - 1)``.
        num_heads: attention heads.
        radius: attention window to either side, in cells of the level.
        dropout: inside the blocks.
    """

    def __init__(
        self,
        dim: int = 128,
        num_levels: int = 6,
        num_heads: int = 4,
        radius: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_levels = num_levels
        self.blocks = nn.ModuleList(
            TemporalBlock(dim, num_heads, radius, dropout=dropout) for _ in range(num_levels)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``x (V, T, D)``, ``mask (V, T)`` to all cells ``(V, M, D)`` and their mask ``(V, M)``."""
        levels, masks = [], []
        for i, block in enumerate(self.blocks):
            if i:
                x, mask = self._halve(x, mask)
            x = block(x, mask)
            levels.append(x)
            masks.append(mask)
        valid = torch.cat(masks, 1)
        return self.norm(torch.cat(levels, 1)) * valid[..., None], valid

    def average(self, x: Tensor, mask: Tensor) -> Tensor:
        """The mean of the valid clips of each cell: ``x (V, T, E)`` to ``(V, M, E)``."""
        levels = [x]
        for _ in range(1, self.num_levels):
            x, mask = self._halve(x, mask)
            levels.append(x)
        return torch.cat(levels, 1)

    @staticmethod
    def _halve(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the valid ones of each two cells."""
        num, length, dim = x.shape
        pair = mask.view(num, length // 2, 2)
        count = pair.sum(2, keepdim=True).clamp(min=1).to(x.dtype)
        return x.view(num, length // 2, 2, dim).sum(2) / count, pair.any(2)
