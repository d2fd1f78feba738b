"""The geometry of the temporal pyramid: where each cell lies and who its neighbours are."""

from typing import NamedTuple

import torch
from torch import Tensor

from demul_mm.structures import span_iou


class PyramidPoints(NamedTuple):
    """The ``M`` cells of all levels, finest level first, in clip units."""

    centers: Tensor  # (M,) middle of the cell
    strides: Tensor  # (M,) length of the cell
    levels: Tensor  # (M,) int64
    has_left: Tensor  # (M,) False at the first cell of a level
    has_right: Tensor  # (M,) False at the last cell of a level
    level_sizes: tuple[int, ...]  # cells of each level; the first is the number of clips

    def valid(self, num_clips: Tensor) -> Tensor:
        """``(V, M)``: True where a cell begins before the video ends; ``num_clips`` is ``(V,)``."""
        return (self.centers - self.strides / 2)[None] < num_clips[:, None]

    def place(self, num_clips: Tensor) -> Tensor:
        """``(V, M, 3)``: centre and length as shares of the video, and the level over 8."""
        number = num_clips[:, None].clamp(min=1)
        level = (self.levels / 8).expand(len(num_clips), -1)
        return torch.stack([self.centers / number, self.strides / number, level], -1)

    def cell_spans(self) -> Tensor:
        """``(M, 2)``: first and last border of each cell, in clips."""
        half = self.strides / 2
        return torch.stack([self.centers - half, self.centers + half], -1)

    def best_cells(self, spans: Tensor, mask: Tensor) -> Tensor:
        """The cell ``(n,)`` whose own borders fit each span best.

        Args:
            spans: ``(n, 2)`` in clips.
            mask: ``(n, M)`` the cells to choose from.
        """
        iou = span_iou(spans[:, None], self.cell_spans()[None])  # (n, M)
        return iou.masked_fill(~mask, -1).argmax(1)


def padded_length(num_cells: int, num_levels: int) -> int:
    """Padded clips ``T``, from the number of cells ``M = T (2 - 2 ** (1 - num_levels))``."""
    divisor = 2 ** (num_levels - 1)
    return num_cells * divisor // (2 * divisor - 1)


class PointGenerator:
    """Cells of a pyramid whose level ``l`` has stride ``2 ** l``.

    Args:
        num_levels: levels of the pyramid, at least 1.
    """

    def __init__(self, num_levels: int) -> None:
        if num_levels < 1:
            raise ValueError(f'num_levels is {num_levels}; a pyramid has at least one level')
        self.num_levels = num_levels

    @property
    def divisor(self) -> int:
        """What the padded number of clips must be a multiple of."""
        return 2 ** (self.num_levels - 1)

    def check_padding(self, pad_divisor: int) -> None:
        """Refuse batches whose length is padded to a multiple of something else."""
        if pad_divisor % self.divisor:
            raise ValueError(
                f'data_preprocessor.pad_divisor is {pad_divisor}; a pyramid of '
                f'{self.num_levels} levels needs a multiple of {self.divisor}'
            )

    def level_sizes(self, length: int) -> list[int]:
        """Cells of each level for ``length`` (padded) clips."""
        return [length // 2**level for level in range(self.num_levels)]

    def __call__(self, length: int, device: torch.device | None = None) -> PyramidPoints:
        """Points for ``length`` padded clips, a multiple of ``divisor``."""
        if length % self.divisor:
            raise ValueError(f'{length} clips are not a multiple of {self.divisor}: pad them first')
        sizes = self.level_sizes(length)
        cell = torch.cat([torch.arange(size, device=device) for size in sizes])
        levels = torch.cat(
            [torch.full((size,), level, device=device) for level, size in enumerate(sizes)]
        )
        strides = (2**levels).float()
        return PyramidPoints(
            centers=(cell + 0.5) * strides,
            strides=strides,
            levels=levels,
            has_left=cell > 0,
            has_right=cell < length / strides - 1,
            level_sizes=tuple(sizes),
        )
