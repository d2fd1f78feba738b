"""Reading per-clip curves at span borders and over span interiors."""

import torch
from torch import Tensor

from demul_mm.structures import mean_over


def sample_curve(curve: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation of a curve sampled at clip centres.

    Args:
        curve: ``(R, T)``, the value of clip ``t`` standing at ``t + 0.5``.
        position: ``(R, M)`` in clips, 0 to ``T``; beyond the outer centres the curve is flat.

    Returns:
        ``(R, M)``.
    """
    x = (position - 0.5).clamp(0, curve.shape[1] - 1)
    left = x.floor()
    low = left.long().clamp(0, curve.shape[1] - 1)  # a position may be no number
    high = (low + 1).clamp(max=curve.shape[1] - 1)
    fraction = x - left
    return curve.gather(1, low) * (1 - fraction) + curve.gather(1, high) * fraction


def coherence(curve: Tensor, start: Tensor, end: Tensor, num_clips: Tensor) -> Tensor:
    """Inside mean of a curve against the mean of the two flanks, each half as long as the span.

    Args:
        curve: ``(R, T)`` in [0, 1], how much each clip belongs to the moment.
        start: ``(R, M)`` in clips.
        end: ``(R, M)``.
        num_clips: ``(R,)``; a flank outside the video does not count.

    Returns:
        ``(R, M)`` in [-1, 1].
    """
    half = (end - start) / 2
    stop = num_clips[:, None].to(end.dtype)
    before, after = (start - half).clamp(min=0), torch.minimum(end + half, stop)
    left, right = start - before, after - end
    flank = mean_over(curve, before, start) * left + mean_over(curve, end, after) * right
    flank = flank / (left + right).clamp(min=1e-4)
    return mean_over(curve, start, end) - flank


def smooth(curve: Tensor, mask: Tensor, own: float = 0.5) -> Tensor:
    """Each clip with its two neighbours, keeping ``own`` of itself so that short moments last.

    Args:
        curve: ``(R, T)``.
        mask: ``(R, T)``.
        own: share of the clip's own value.
    """
    keep = mask.to(curve.dtype)
    value = torch.nn.functional.pad(curve * keep, (1, 1))
    count = torch.nn.functional.pad(keep, (1, 1))
    neighbours = value[:, :-2] + value[:, 2:]
    number = count[:, :-2] + count[:, 2:]
    mean = torch.where(number > 0, neighbours / number.clamp(min=1), curve)
    return (own * curve + (1 - own) * mean) * keep
