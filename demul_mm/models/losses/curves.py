"""Losses of the curves over a pair's clips: start, end and inside."""

import torch
import torch.nn.functional as F
from torch import Tensor

from demul_mm.models.losses.localization import segment_logsumexp


def boundary_loss(
    start: Tensor, end: Tensor, mask: Tensor, query: Tensor, truth: Tensor, truth_mask: Tensor
) -> Tensor:
    """Cross-entropy of where a query's moments start, and of where they end, over all its videos.

    Args:
        start: ``(R, T)`` logits.
        end: ``(R, T)`` logits.
        mask: ``(R, T)`` valid clips.
        query: ``(R,)`` int64: pairs of one query compete.
        truth: ``(R, G, 2)`` in clips.
        truth_mask: ``(R, G)``.
    """
    loss = start.new_zeros(())
    if not truth.shape[1]:
        return loss
    clip = torch.arange(mask.shape[1], device=truth.device) + 0.5
    width = (0.05 * (truth[..., 1] - truth[..., 0])).clamp(min=0.5)[..., None]
    # Borders lie between clips; the clip inside the moment holds them.
    for curve, border in ((start, truth[..., :1] + 0.5), (end, truth[..., 1:] - 0.5)):
        near = (-0.5 * ((clip - border) / width) ** 2).exp()  # (R, G, T)
        near = (near * truth_mask[..., None]).amax(1) * mask
        loss = loss + _segment_cross_entropy(curve, near, mask, query)
    return loss


def inside_loss(inside: Tensor, mask: Tensor, truth: Tensor, truth_mask: Tensor) -> Tensor:
    """Cross-entropy towards the share of each clip that a moment fills.

    So moments shorter than a clip still get a target.

    Args:
        inside: ``(R, T)`` logits.
        mask: ``(R, T)`` valid clips.
        truth: ``(R, G, 2)`` in clips.
        truth_mask: ``(R, G)``.
    """
    first = torch.arange(mask.shape[1], device=truth.device)
    share = torch.minimum(truth[..., 1:], first + 1) - torch.maximum(truth[..., :1], first)
    share = share.clamp(min=0) * truth_mask[..., None]  # (R, G, T)
    wanted = share.amax(1) if truth.shape[1] else torch.zeros_like(inside)
    return masked_mean(F.binary_cross_entropy_with_logits(inside, wanted, reduction='none'), mask)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the valid entries, 0 without any."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def _segment_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor, query: Tensor) -> Tensor:
    """Cross-entropy of a softmax over all clips of a query's videos, towards ``target (R, T)``."""
    floor = torch.finfo(logits.dtype).min
    log_total = segment_logsumexp(logits.masked_fill(~mask, floor), query)
    log_prob = (logits - log_total[:, None]).masked_fill(~mask, 0.0)
    total = target.new_zeros(len(query)).index_add(0, query, target.sum(1))
    gain = target.new_zeros(len(query)).index_add(0, query, (target * log_prob).sum(1))
    has = total > 0
    return (-(gain / total.clamp(min=1e-6)) * has).sum() / has.sum().clamp(min=1)
