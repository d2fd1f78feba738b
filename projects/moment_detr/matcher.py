"""Which prediction answers for which true moment, each at most once."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from demul_mm.registry import TASK_UTILS


def to_borders(spans: Tensor) -> Tensor:
    """Centre and width ``(..., 2)`` as start and end."""
    center, width = spans.unbind(-1)
    return torch.stack([center - width / 2, center + width / 2], -1)


def to_center_width(spans: Tensor) -> Tensor:
    """Start and end ``(..., 2)`` as centre and width."""
    start, end = spans.unbind(-1)
    return torch.stack([(start + end) / 2, end - start], -1)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the empty share of the hull, of borders ``(..., 2)`` with broadcasting: [-1, 1]."""
    inter = torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - inter.clamp(min=0)
    iou = inter.clamp(min=0) / union.clamp(min=1e-6)
    return iou - (hull - union) / hull.clamp(min=1e-6)


@TASK_UTILS.register_module()
class SetMatcher:
    """The assignment of least cost (Carion et al., "DETR", 2020; Lei et al., 2021, section 4).

    Args:
        span: weight of the L1 distance of centre and width.
        giou: weight of the generalised IoU.
        label: weight of the probability of a moment.
    """

    def __init__(self, span: float = 10.0, giou: float = 1.0, label: float = 4.0) -> None:
        self.span = span
        self.giou = giou
        self.label = label

    def cost(self, prob: Tensor, spans: Tensor, truth: Tensor) -> Tensor:
        """What it costs each prediction to answer for each moment: ``(Q, N, G)``.

        Args:
            prob: ``(Q, N)`` of a moment.
            spans: ``(Q, N, 2)`` centre and width.
            truth: ``(Q, G, 2)`` start and end.
        """
        far = (spans[:, :, None] - to_center_width(truth)[:, None]).abs().sum(-1)
        alike = generalized_iou(to_borders(spans)[:, :, None], truth[:, None])
        return self.span * far - self.giou * alike - self.label * prob[..., None]

    @torch.no_grad()
    def __call__(
        self, prob: Tensor, spans: Tensor, truth: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The prediction of each moment.

        Args:
            prob: ``(Q, N)``.
            spans: ``(Q, N, 2)`` centre and width.
            truth: ``(Q, G, 2)`` start and end.
            mask: ``(Q, G)``.

        Returns:
            index ``(Q, G)`` int64, and ``matched (Q, G)``: False where there is no moment, or more
            moments than predictions.
        """
        cost = self.cost(prob, spans, truth)
        if truth.shape[1] == 1:  # its cheapest prediction; the host need not know
            return cost.argmin(1), mask
        index = np.zeros(mask.shape, np.int64)
        matched = np.zeros(mask.shape, bool)
        known = mask.cpu().numpy()
        for q, matrix in enumerate(cost.cpu().numpy()):
            columns = known[q].nonzero()[0]
            rows, chosen = linear_sum_assignment(matrix[:, columns])
            index[q, columns[chosen]], matched[q, columns[chosen]] = rows, True
        return (
            torch.from_numpy(index).to(truth.device),
            torch.from_numpy(matched).to(truth.device),
        )
