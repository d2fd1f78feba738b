"""Losses on candidates: which one, and where its borders are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.registry import MODELS
from demul_mm.structures import span_iou


@MODELS.register_module()
class QualityFocalLoss(nn.Module):
    """Focal loss towards a soft target (Li et al., Generalized Focal Loss, 2020, eq. 2).

    Choose it over the plain focal loss when a positive's target is its IoU: well-placed candidates
    should score higher than merely overlapping ones.

    Args:
        beta: how strongly easy candidates are played down.
    """

    def __init__(self, beta: float = 2.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
        """``logits``, ``target`` in [0, 1], ``mask``, all of one shape; sum over ``normalizer``."""
        weight = (logits.sigmoid() - target).abs() ** self.beta
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction='none') * weight
        return (loss * mask).sum() / normalizer


@MODELS.register_module()
class SpanDIoULoss(nn.Module):
    """``1 - DIoU`` of spans: IoU, and the distance of the centres over the hull when apart.

    Zheng et al., Distance-IoU Loss, 2020, in one dimension.
    """

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor, normalizer: Tensor) -> Tensor:
        """Spans ``(..., 2)`` and ``weight (...)``; the weighted sum over ``normalizer``."""
        hull = torch.maximum(pred[..., 1], target[..., 1]) - torch.minimum(
            pred[..., 0], target[..., 0]
        )
        gap = (pred.sum(-1) - target.sum(-1)).abs() / 2
        loss = 1 - span_iou(pred, target) + (gap / hull.clamp(min=1e-6)) ** 2
        return (loss * weight).sum() / normalizer


@MODELS.register_module()
class ListwiseLoss(nn.Module):
    """Divergence of a softmax over all candidates of a query, in all of its videos.

    Choose it to make the scores of different videos comparable; the target is a softmax of the
    candidates' IoU, so several good candidates share it.

    Args:
        temperature: divisor in the target's softmax over IoU; smaller is stricter.
        min_iou: candidates below it get no target.
    """

    def __init__(self, temperature: float = 0.1, min_iou: float = 0.5) -> None:
        super().__init__()
        self.temperature = temperature
        self.min_iou = min_iou

    def forward(self, scores: Tensor, iou: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """One number for ``R`` pairs.

        Args:
            scores: ``(R, M)`` joint scores.
            iou: ``(R, M)`` of each candidate with the truth, 0 in videos that do not match.
            mask: ``(R, M)``.
            query: ``(R,)`` int64: pairs of one query compete.
        """
        wanted = mask & (iou >= self.min_iou)
        weight = torch.where(wanted, (iou / self.temperature).exp(), 0.0)
        log_prob = _segment_log_softmax(scores, mask, query)
        num = int(query.shape[0])
        total = weight.new_zeros(num).index_add(0, query, weight.sum(1))
        share = weight / total[query].clamp(min=1e-6)[:, None]
        surprise = torch.where(wanted, share * (log_prob - share.clamp(min=1e-12).log()), 0.0)
        gain = weight.new_zeros(num).index_add(0, query, surprise.sum(1))
        has_target = total > 0
        return -gain.sum() / has_target.sum().clamp(min=1)


@MODELS.register_module()
class FusionDistillation(nn.Module):
    """Teach the shared space how fusion ranks the candidates of a query.

    Divergence of a softmax over the similarities that the index sees from one over the fused joint
    scores, over the same candidates in all of the query's videos. The teacher gets no gradient.
    What fusion finds out then serves the search before it (Miech et al., "Thinking Fast and Slow",
    CVPR 2021, section 3.3).

    Args:
        temperature: divisor of the similarities, as in the contrast that trains them.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, similarity: Tensor, scores: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """One number for ``R`` pairs, at least 0.

        Args:
            similarity: ``(R, K)`` cosines of query and candidate in the shared space.
            scores: ``(R, K)`` fused joint scores of the same candidates.
            mask: ``(R, K)``.
            query: ``(R,)`` int64: pairs of one query compete.
        """
        student = _segment_log_softmax(similarity / self.temperature, mask, query)
        teacher = _segment_log_softmax(scores.detach(), mask, query)
        divergence = (teacher.exp() * mask * (teacher - student)).sum()
        number = torch.zeros_like(query).index_fill(0, query, 1).sum()  # of queries
        return divergence / number.clamp(min=1)


def _segment_log_softmax(logits: Tensor, mask: Tensor, segment: Tensor) -> Tensor:
    """Log-softmax over the valid entries of all rows of a segment, 0 where invalid."""
    floor = torch.finfo(logits.dtype).min
    total = segment_logsumexp(logits.masked_fill(~mask, floor), segment)
    return (logits - total[:, None]).masked_fill(~mask, 0.0)


def segment_logsumexp(logits: Tensor, segment: Tensor) -> Tensor:
    """Log-sum-exp over the rows that share a segment.

    Args:
        logits: ``(R, M)``; invalid entries hold a very negative number.
        segment: ``(R,)`` int64 in ``[0, R)``.

    Returns:
        ``(R,)``, for each row that of its segment.
    """
    rows = logits.logsumexp(1)
    peak = rows.detach().new_full(rows.shape, torch.finfo(rows.dtype).min)
    peak = peak.scatter_reduce(0, segment, rows.detach(), 'amax')
    total = torch.zeros_like(rows).index_add(0, segment, (rows - peak[segment]).exp())
    return (total.clamp(min=1e-30).log() + peak)[segment]
