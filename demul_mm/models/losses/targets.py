"""Training targets of a batch, made once a step."""

from typing import NamedTuple

import torch
from torch import Tensor

from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.structures import span_iou


class Targets(NamedTuple):
    """The true moments of ``R`` pairs, and the cells that are assigned to them."""

    spans: Tensor  # (R, G, 2) in clips
    mask: Tensor  # (R, G)
    positive: Tensor  # (R, M) cells that are assigned to a moment
    own: Tensor  # (R, M, 2) the moment that each cell is compared with, in clips

    def with_rivals(self, number: int) -> 'Targets':
        """With ``number`` pairs more, whose videos hold no truth."""
        return Targets(*(torch.cat([x, x.new_zeros(number, *x.shape[1:])]) for x in self))


def touching(points: PyramidPoints, truth: Tensor, span_mask: Tensor) -> Tensor:
    """``(Q, M)``: True where a cell overlaps a true moment of ``truth (Q, G, 2)``, in clips."""
    low, high = points.cell_spans().unbind(-1)
    overlap = (truth[..., :1] < high) & (truth[..., 1:] > low)  # (Q, G, M)
    return (overlap & span_mask[..., None]).any(1)


def same_moment(spans: Tensor, mask: Tensor, owner: Tensor, min_iou: float = 0.7) -> Tensor:
    """``(Q, Q)``: queries about one video whose first moments are nearly the same, and itself.

    Args:
        spans: ``(Q, G, 2)``.
        mask: ``(Q, G)``.
        owner: ``(Q,)`` the video of each query.
        min_iou: from which two moments count as one.
    """
    alone = torch.eye(len(owner), dtype=torch.bool, device=owner.device)
    if not spans.shape[1]:
        return alone
    near = span_iou(spans[:, None, 0], spans[None, :, 0]) >= min_iou
    known = mask[:, :1] & mask[None, :, 0]
    return alone | (near & known & (owner[:, None] == owner))
