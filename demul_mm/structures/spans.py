"""Arithmetic on spans ``(..., 2)`` of ``(start, end)``, in any unit, for torch tensors."""

import torch
from torch import Tensor


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


def mean_over(curve: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Mean of a piecewise constant curve over ``[start, end]``, from one cumulative sum.

    Args:
        curve: ``(R, T)``, constant over each clip ``[t, t + 1]``.
        start: ``(R, M)`` in clips.
        end: ``(R, M)``; where it is not after ``start`` the mean is 0.

    Returns:
        ``(R, M)``.
    """
    total = torch.nn.functional.pad(curve.cumsum(1), (1, 0))  # (R, T + 1), integral up to a border

    def integral(x: Tensor) -> Tensor:
        x = x.clamp(0, curve.shape[1])
        low = x.floor().long().clamp(max=curve.shape[1] - 1)
        return total.gather(1, low) + (x - low) * curve.gather(1, low)

    length = end - start
    mean = (integral(end) - integral(start)) / length.clamp(min=1e-4)
    return torch.where(length > 1e-4, mean, 0.0)
