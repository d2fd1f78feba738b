"""Arithmetic on spans ``(..., 2)`` of ``(start, end)``, in any unit, for torch tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

# What can be meant by the seconds of a video or of a part of it; 1e7 are four months.
SECONDS = (1e-3, 1e7)


def is_length(seconds: float) -> bool:
    """Whether something can last so long, in :data:`SECONDS`; beyond, arithmetic breaks."""
    return SECONDS[0] <= seconds <= SECONDS[1]  # also false for NaN


def span_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of spans, element by element with broadcasting.

    ``IoU = max(0, min(e) - max(s)) / (max(e) - min(s))``, 0 where the denominator is not positive.
    The denominator is the hull, not the union: the two differ only where the spans are apart,
    and there the numerator is 0.

    Args:
        a: ``(..., 2)``.
        b: ``(..., 2)``, broadcastable to ``a``.

    Returns:
        ``(...)`` in [0, 1].
    """
    inter = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return torch.where(hull > 0, inter / hull.clamp(min=torch.finfo(hull.dtype).tiny), 0.0)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each span of ``a (..., N, 2)`` with each of ``b (..., M, 2)``: ``(..., N, M)``."""
    return span_iou(a.unsqueeze(-2), b.unsqueeze(-3))


def running_sum(x: Tensor) -> Tensor:
    """Sums of ``x (R, T, ...)`` up to and with each clip, also where torch must be deterministic.

    ``torch.cumsum`` is not on GPUs; there, in deterministic mode, products with triangles are.
    """
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        return _sum_by_blocks(x)
    return x.cumsum(1)


def _sum_by_blocks(x: Tensor, size: int = 64) -> Tensor:
    num, length = x.shape[:2]
    with torch.autocast(x.device.type, enabled=False):
        blocks = F.pad(x.reshape(num, length, -1), (0, 0, 0, -length % size))
        blocks = blocks.view(num, (length + size - 1) // size, size, -1)  # (R, B, size, C)
        inside = x.new_ones(size, size).tril() @ blocks
        whole = inside[:, :, -1]  # (R, B, C)
        before = x.new_ones(whole.shape[1], whole.shape[1]).tril(-1) @ whole
        return (inside + before[:, :, None]).flatten(1, 2)[:, :length].reshape(x.shape)


def mean_over(curve: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Mean of a piecewise constant curve over ``[start, end]``, from one cumulative sum.

    Args:
        curve: ``(R, T)``, constant over each clip ``[t, t + 1]``.
        start: ``(R, M)`` in clips.
        end: ``(R, M)``; where it is not after ``start`` the mean is 0.

    Returns:
        ``(R, M)``.
    """
    total = F.pad(running_sum(curve), (1, 0))  # (R, T + 1), integral up to a border

    def integral(x: Tensor) -> Tensor:
        x = x.clamp(0, curve.shape[1])
        low = x.floor().long().clamp(0, curve.shape[1] - 1)  # a border may be no number
        return total.gather(1, low) + (x - low) * curve.gather(1, low)

    length = end - start
    mean = (integral(end) - integral(start)) / length.clamp(min=1e-4)
    return torch.where(length > 1e-4, mean, 0.0)
