"""Choosing the moments whose recall is expected to be best: decoding of minimum Bayes risk."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from demul_mm.registry import TASK_UTILS
from demul_mm.structures.spans import pairwise_iou

# A candidate whose IoU is just at the threshold counts half; this much IoU further it counts in
# full, or not at all, since its borders are no more certain than that.
SLACK = 0.1
# Numbers that are held at once, which is about what fits a processor's cache.
BLOCK = 2**19


@TASK_UTILS.register_module()
class ExpectedRecall:
    """Keep, one after another, the moments that add most to the expected recall at some IoUs.

    The joint score is trained by a softmax over the candidates of a query (``ListwiseLoss``), so
    its exponential says how likely each of them is the truth. A moment is then worth the
    likelihood of all candidates that it would hit, were they the truth, and the next moment what
    the first has not hit yet. The best candidate alone is not the best answer when others agree on
    a place beside it, and suppression by a fixed IoU either repeats itself or goes astray. This is
    minimum Bayes risk (Kumar & Byrne, NAACL 2004; Premachandran et al., "Empirical Minimum Bayes
    Risk Prediction", CVPR 2014) for recall@k, chosen greedily: since expected recall is submodular,
    that has at least 1 - 1/e of what the best choice has.

    Moments of different videos do not hit each other: sorted together by their scores, they are
    what the same choice over all videos would keep.

    Args:
        ious: thresholds whose recalls count alike, each in (0, 1].
        max_keep: how many moments a query keeps.
        temperature: divisor in the softmax; higher trusts the scores less.
        num_candidates: the best by score that count; bounds time and memory, which grow with its
            square.
    """

    # It reads joint scores: the softmax is right on the scale that they were trained on.
    of_probabilities = False

    def __init__(
        self,
        ious: Sequence[float] = (0.3, 0.5, 0.7),
        max_keep: int = 5,
        temperature: float = 1.0,
        num_candidates: int = 96,
    ) -> None:
        if not ious or not all(0 < iou <= 1 for iou in ious):
            raise ValueError(f'ious is {tuple(ious)}; give at least one, each in (0, 1]')
        if not 0 < temperature < math.inf:
            raise ValueError(f'temperature is {temperature}; it must be positive')
        for name, number in (('max_keep', max_keep), ('num_candidates', num_candidates)):
            if number < 1:
                raise ValueError(f'{name} is {number}; it must be at least 1')
        self.ious = tuple(ious)
        self.max_keep = max_keep
        self.temperature = temperature
        self.num_candidates = num_candidates

    def __call__(
        self, spans: Tensor, scores: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Choose at most ``K = min(max_keep, M)`` candidates for each of ``R`` pairs.

        Args:
            spans: ``(R, M, 2)``, any unit.
            scores: ``(R, M)`` logarithms of how likely each candidate is the truth, up to a
                constant that all pairs of a query share.
            mask: ``(R, M)`` bool, True = valid.

        Returns:
            As :class:`~demul_mm.structures.nms.MomentNMS`. The new scores are what each moment adds
            to the expected recall, on the scale of those given: a candidate that no other overlaps
            keeps its own.
        """
        num_keep = min(self.max_keep, scores.shape[1])
        if not num_keep:
            return spans, scores, mask, mask.long()
        scores = scores.masked_fill(~mask, -torch.inf)
        number = min(max(self.num_candidates, num_keep), scores.shape[1])
        scores, place = scores.sort(dim=-1, descending=True, stable=True)
        scores, place = scores[:, :number], place[:, :number]
        spans = spans.gather(1, place[..., None].expand(-1, -1, 2))
        free = scores > -torch.inf
        peak = torch.where(free[:, :1], scores[:, :1], 0.0)  # (R, 1)
        share = ((scores - peak) / self.temperature).exp()  # (R, M) of the likeliest candidate's

        step = max(1, BLOCK // (len(self.ious) * number**2))
        rows = [slice(start, start + step) for start in range(0, max(1, len(scores)), step)]
        parts = [self._choose(spans[r], share[r], free[r], num_keep) for r in rows]
        index, gain = (torch.cat(column) for column in zip(*parts))  # (R, K) each
        valid = gain > 0
        kept = torch.where(valid[..., None], spans.gather(1, index[..., None].expand(-1, -1, 2)), 0)
        worth = peak + self.temperature * gain.clamp(min=torch.finfo(gain.dtype).tiny).log()
        worth = worth.masked_fill(~valid, -torch.inf)
        return kept, worth, valid, place.gather(1, index).masked_fill(~valid, 0)

    def _choose(
        self, spans: Tensor, share: Tensor, free: Tensor, num_keep: int
    ) -> tuple[Tensor, Tensor]:
        """Which candidates are kept ``(R, K)``, and what each adds to the expected recall."""
        iou = pairwise_iou(spans, spans)[:, None]  # (R, 1, M answers, M truths)
        threshold = iou.new_tensor(self.ious)[:, None, None]
        hits = ((iou - threshold) / (2 * SLACK) + 0.5).clamp(0, 1)  # (R, W, M, M)
        covered = torch.zeros_like(hits[:, :, :1])  # by what was kept
        picked, gains = [], []
        for _ in range(num_keep):
            gain = ((hits - covered).clamp(min=0) @ share[:, None, :, None]).squeeze(-1).mean(1)
            best, index = gain.masked_fill(~free, -1.0).max(-1, keepdim=True)  # (R, 1)
            picked.append(index)
            gains.append(best)
            free = free.scatter(1, index, False)
            row = index[:, None, :, None].expand(-1, len(self.ious), -1, hits.shape[-1])
            covered = torch.maximum(covered, hits.gather(2, row))
        return torch.cat(picked, 1), torch.cat(gains, 1)
