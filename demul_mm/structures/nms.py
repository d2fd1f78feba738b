"""Non-maximum suppression of moments: pure torch, batched, the same on every device."""

import torch
from torch import Tensor
from torch.nn import functional as F

from demul_mm.registry import TASK_UTILS
from demul_mm.structures.spans import pairwise_iou, span_iou


def vote_boundaries(
    kept: Tensor, spans: Tensor, scores: Tensor, mask: Tensor, iou_thr: float
) -> Tensor:
    """Move each kept span to the weighted mean of the candidates that agree with it.

    The voters of a kept span are the valid candidates with ``IoU >= iou_thr``; a vote weighs
    ``score * IoU``. A span without a voter of positive weight stays where it is.

    Args:
        kept: ``(R, K, 2)``.
        spans: all candidates, ``(R, M, 2)`` in the unit of ``kept``.
        scores: ``(R, M)``, at least 0.
        mask: ``(R, M)`` bool, True = valid.
        iou_thr: in (0, 1].

    Returns:
        ``(R, K, 2)``.
    """
    iou = pairwise_iou(kept, spans)  # (R, K, M)
    votes = torch.where((iou >= iou_thr) & mask.unsqueeze(1), iou * scores.unsqueeze(1), 0.0)
    total = votes.sum(-1, keepdim=True)  # (R, K, 1)
    places = torch.where(mask.unsqueeze(-1), spans, 0.0)
    mean = votes @ places / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, mean, kept)


class _Suppressor:
    """The loop that hard and soft suppression share; the two differ in ``decay``."""

    of_probabilities = True  # votes and decay take scores that are at least 0

    def __init__(self, max_keep: int, vote_iou: float | None, min_score: float) -> None:
        if max_keep < 1:
            raise ValueError(f'max_keep is {max_keep}; it must be at least 1')
        if vote_iou is not None and not 0 < vote_iou <= 1:
            raise ValueError(f'vote_iou is {vote_iou}; it must be in (0, 1], or None for no voting')
        self.max_keep = max_keep
        self.vote_iou = vote_iou
        self.min_score = min_score

    def decay(self, iou: Tensor, scores: Tensor) -> Tensor:
        """New scores ``(R, M)`` of the candidates left, given their IoU with the one just kept."""
        raise NotImplementedError

    def __call__(
        self, spans: Tensor, scores: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Choose at most ``K = min(max_keep, M)`` candidates for each of ``R`` pairs.

        Args:
            spans: ``(R, M, 2)``, any unit.
            scores: ``(R, M)``, larger is better. Equal scores are taken in the order of their
                index.
            mask: ``(R, M)`` bool, True = valid.

        Returns:
            ``spans (R, K, 2)`` and ``scores (R, K)``, best first; ``valid (R, K)`` bool; and
            ``index (R, K)`` into ``M``. Where ``valid`` is False the span is (0, 0), the score
            ``-inf`` and the index 0, so that the index can always be used to gather.
        """
        num_moments = scores.shape[1]
        num_keep = min(self.max_keep, num_moments)
        alive = torch.where(mask, scores, -torch.inf)  # (R, M), -inf: taken or suppressed
        picked: list[Tensor] = []
        picked_scores: list[Tensor] = []
        on_cpu = alive.device.type == 'cpu'  # elsewhere looking costs more than going on
        for _ in range(num_keep):
            if picked and on_cpu and bool((alive == -torch.inf).all()):
                break
            index = alive.argmax(-1, keepdim=True)  # (R, 1), the first of equals
            picked.append(index)
            picked_scores.append(alive.gather(1, index))
            best = spans.gather(1, index.unsqueeze(-1).expand(-1, -1, 2))  # (R, 1, 2)
            decayed = self.decay(span_iou(best, spans), alive)
            alive = decayed.scatter(1, index, -torch.inf)
        if not picked:
            return spans, scores, mask, mask.long()
        rest = (0, num_keep - len(picked))
        index = F.pad(torch.cat(picked, 1), rest)  # (R, K)
        new_scores = F.pad(torch.cat(picked_scores, 1), rest, value=-torch.inf)
        valid = (new_scores > -torch.inf) & (new_scores >= self.min_score)
        kept = spans.gather(1, index.unsqueeze(-1).expand(-1, -1, 2))
        if self.vote_iou is not None:
            kept = vote_boundaries(kept, spans, scores.clamp(min=0), mask, self.vote_iou)
        kept = torch.where(valid.unsqueeze(-1), kept, 0.0)
        new_scores = new_scores.masked_fill(~valid, -torch.inf)
        return kept, new_scores, valid, index.masked_fill(~valid, 0)


@TASK_UTILS.register_module()
class MomentNMS(_Suppressor):
    """Greedy NMS: a candidate is kept when its IoU with every kept one is <= ``iou_thr``.

    Args:
        iou_thr: in [0, 1]; 1 keeps everything.
        max_keep: how many moments a query keeps.
        vote_iou: if given, each kept span is moved to the mean of the candidates whose IoU with
            it is at least this, weighted by score times IoU (see :func:`vote_boundaries`).
    """

    def __init__(
        self, iou_thr: float = 0.5, max_keep: int = 5, vote_iou: float | None = None
    ) -> None:
        super().__init__(max_keep=max_keep, vote_iou=vote_iou, min_score=-torch.inf)
        if not 0 <= iou_thr <= 1:
            raise ValueError(f'iou_thr is {iou_thr}; it must be in [0, 1]')
        self.iou_thr = iou_thr

    def decay(self, iou: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(iou > self.iou_thr, -torch.inf)


@TASK_UTILS.register_module()
class SoftNMS(_Suppressor):
    """Soft NMS: a candidate loses score by its overlap with what is kept, and may return later.

    It is multiplied by ``exp(-IoU^2 / sigma)`` (Bodla et al., "Soft-NMS", ICCV 2017), so scores
    must not be negative: give probabilities, not logits.

    Args:
        sigma: width of the Gaussian, positive; smaller suppresses more.
        min_score: moments whose decayed score is lower are not returned.
        max_keep: how many moments a query keeps.
        vote_iou: as in :class:`MomentNMS`.
    """

    def __init__(
        self,
        sigma: float = 0.5,
        min_score: float = 0.001,
        max_keep: int = 5,
        vote_iou: float | None = None,
    ) -> None:
        super().__init__(max_keep=max_keep, vote_iou=vote_iou, min_score=min_score)
        if sigma <= 0:
            raise ValueError(f'sigma is {sigma}; it must be positive')
        self.sigma = sigma

    def __call__(
        self, spans: Tensor, scores: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if bool((scores.masked_fill(~mask, 0) < 0).any()):
            raise ValueError(
                f'SoftNMS got a score of {float(scores[mask].min()):.3g}; scores must be at least '
                '0: apply a sigmoid first, or use MomentNMS'
            )
        return super().__call__(spans, scores, mask)

    def decay(self, iou: Tensor, scores: Tensor) -> Tensor:
        factor = torch.exp(-iou.square() / self.sigma)
        # 0 * -inf would be NaN: what is gone stays gone.
        return torch.where(scores > -torch.inf, scores * factor, scores)
