"""Assignment of candidates to true moments."""

from dataclasses import dataclass

import torch
from torch import Tensor

from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import TASK_UTILS
from demul_mm.structures import pairwise_iou


def assign_by_iou(
    anchors: Tensor, spans: Tensor, span_mask: Tensor, min_iou: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Assign spans to moments by overlap.

    Args:
        anchors: ``(R, P, 2)``.
        spans: ``(R, G, 2)`` true moments in the unit of ``anchors``.
        span_mask: ``(R, G)``.
        min_iou: from which an anchor is positive.

    Returns:
        positive ``(R, P)`` bool, and the moment that each anchor overlaps most, ``(R, P, 2)``:
        zeros without truth.
    """
    if not spans.shape[1]:
        return anchors[..., 0] < -torch.inf, torch.zeros_like(anchors)
    iou = pairwise_iou(anchors, spans).masked_fill(~span_mask[:, None], -1.0)  # (R, P, G)
    best, owner = iou.max(-1)
    return best >= min_iou, spans.gather(1, owner[..., None].expand(-1, -1, 2))


@TASK_UTILS.register_module()
@dataclass
class ScaleAssigner:
    """Assign points to moments by scale and by distance to the centre.

    The cost of a point is how many octaves the moment's length is off ``span_strides`` cells of the
    point's level, plus how many cells the point is off the moment's centre. Points below
    ``max_cost`` are positive, and so is the cheapest one, whatever it costs: every moment has a
    positive, but for one whose points are all cheaper for another moment of its query. The finest
    level has no lower limit of length, the coarsest no upper one.

    Args:
        span_strides: the moment's length in cells that a level fits best.
        center_weight: cost of one cell off the centre.
        max_cost: limit.
    """

    span_strides: float = 4.0
    center_weight: float = 0.5
    max_cost: float = 1.25

    def __call__(
        self, points: PyramidPoints, mask: Tensor, spans: Tensor, span_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Assign for ``R`` pairs.

        Args:
            points: geometry of the ``M`` cells, in clips.
            mask: ``(R, M)`` valid cells.
            spans: ``(R, G, 2)`` true moments in clips.
            span_mask: ``(R, G)``.

        Returns:
            positive ``(R, M)`` bool, and the span that each point is compared with, ``(R, M, 2)``:
            its own for positives, the cheapest one for the others, zeros without truth.
        """
        if not spans.shape[1]:
            return mask & False, points.centers.new_zeros(*mask.shape, 2)
        length = (spans[..., 1] - spans[..., 0]).clamp(min=1e-3)  # (R, G)
        center = spans.mean(-1)
        octaves = (length[..., None] / (self.span_strides * points.strides)).log2()  # (R, G, M)
        finest = points.levels == 0
        coarsest = points.levels == points.levels[-1]
        octaves = torch.where(finest, octaves.clamp(min=0), octaves)
        octaves = torch.where(coarsest, octaves.clamp(max=0), octaves)
        off = (points.centers - center[..., None]).abs() / points.strides
        cost = octaves.abs() + self.center_weight * off
        cost = cost.masked_fill(~(mask[:, None] & span_mask[..., None]), float('inf'))
        cheapest = torch.zeros_like(cost, dtype=torch.bool)
        cheapest.scatter_(2, cost.argmin(2, keepdim=True), True)
        positive = ((cost <= self.max_cost) | cheapest) & cost.isfinite()
        owner = cost.argmin(1)  # (R, M)
        own = spans.gather(1, owner[..., None].expand(-1, -1, 2))
        return positive.any(1), own
