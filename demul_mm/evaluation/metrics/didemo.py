"""The official DiDeMo protocol (LisaAnne/LocalizingMoments:utils/eval.py)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from demul_mm.evaluation.floors import annotation_entries
from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.metrics.moment_recall import check_options
from demul_mm.evaluation.predictions import PredictionEntry, pad_entries, pad_spans
from demul_mm.registry import DATASETS, METRICS
from demul_mm.structures import pairwise_iou

NUM_CHUNKS = 6
CHUNK_SECONDS = 5.0
# The 21 candidate segments in the official order: first and last chunk, both inclusive.
CANDIDATES = [(i, i) for i in range(NUM_CHUNKS)] + list(combinations(range(NUM_CHUNKS), 2))


def chunk_iou() -> Tensor:
    """IoU between all candidates on chunk indices: ``(21, 21)`` float64."""
    spans = torch.tensor(CANDIDATES, dtype=torch.float64) + torch.tensor([0.0, 1.0])
    return pairwise_iou(spans, spans)


def segment_index(spans: Tensor) -> Tensor:
    """Candidate that a true segment is, for spans ``(..., 2)`` in seconds: ``(...)`` long.

    The first chunk is the one that the start falls into, the last the one that the end closes; a
    last chunk cut short by the end of the video is still that chunk.
    """
    table = torch.zeros(NUM_CHUNKS, NUM_CHUNKS, dtype=torch.long)
    for index, chunks in enumerate(CANDIDATES):
        table[chunks] = index
    rounding = 1e-3
    first = (spans[..., 0] / CHUNK_SECONDS + rounding).floor().long().clamp(0, NUM_CHUNKS - 1)
    last = (spans[..., 1] / CHUNK_SECONDS - rounding).ceil().long() - 1
    return table[first, last.clamp(0, NUM_CHUNKS - 1).maximum(first)]


def rank_candidates(pred: Tensor, mask: Tensor, duration: Tensor) -> Tensor:
    """Order the 21 candidates by predictions in seconds.

    Each prediction, best first, stands for the candidate that it overlaps most, and a candidate
    ranks with the first prediction that stands for it: predictions that are themselves candidates
    keep their order. Candidates that none stands for follow, by the largest
    ``IoU / rank of the prediction``. Ties go by index. Candidates end with the video.

    Args:
        pred: ``(Q, N, 2)`` seconds, best first.
        mask: ``(Q, N)`` bool, True = valid.
        duration: ``(Q,)`` seconds.

    Returns:
        ``(Q, 21)`` candidate indices, best first.
    """
    num_queries, num_pred = mask.shape
    chunks = torch.tensor(CANDIDATES, dtype=pred.dtype) + torch.tensor([0.0, 1.0])
    spans = torch.minimum(chunks * CHUNK_SECONDS, duration[:, None, None])  # (Q, 21, 2)
    iou = pairwise_iou(pred, spans).nan_to_num(0).masked_fill(~mask.unsqueeze(-1), 0)  # (Q, N, 21)
    claimed = iou.argmax(-1)  # (Q, N), the first of equals
    place = torch.arange(num_pred).expand(num_queries, -1)
    place = place.masked_fill(iou.amax(-1) == 0, num_pred) if num_pred else place
    claim = torch.full((num_queries, len(CANDIDATES)), num_pred)
    claim = claim.scatter_reduce(1, claimed, place, reduce='amin')  # (Q, 21)
    weight = 1 / torch.arange(1, num_pred + 1, dtype=iou.dtype)
    support = (iou * weight[:, None]).amax(1) if num_pred else torch.zeros_like(spans[..., 0])
    by_support = support.argsort(dim=-1, descending=True, stable=True)
    by_claim = claim.gather(1, by_support).argsort(dim=-1, stable=True)
    return by_support.gather(1, by_claim)


@METRICS.register_module()
class DiDeMoMetric(EntryMetric):
    """``Rank@1``, ``Rank@5`` and ``mIoU`` of DiDeMo, in percent.

    Videos are six chunks of five seconds with 21 candidate segments; each query has the segments
    of several annotators. ``mIoU`` is the mean of the three largest IoUs of the top candidate; the
    rank of a query the mean of the three smallest ranks of its segments; ``Rank@k`` the share of
    queries whose rank is at most ``k``. Predictions in seconds are mapped to the candidates by
    :func:`rank_candidates`. A query without a prediction is a miss.

    Args:
        topk: the values of ``k``.
        floors: report language-blind floors: True, False, or ``dict(fit_on=<data set config>)``.
            The floor ranks the candidates by how often they are annotated, in these queries or in
            ``fit_on``. ``oracle`` is the best that any of the 21 could score for each query.
        collect_device, prefix, collect_dir: see :class:`EntryMetric`.
    """

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        floors: bool | Mapping[str, Any] = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        check_options(topk)
        if isinstance(floors, Mapping) and set(floors) != {'fit_on'}:
            raise ValueError(f'floors has the keys {sorted(floors)}; it takes only fit_on')
        self.topk = tuple(topk)
        self.floors = floors

    def compute_entries(self, entries: Sequence[PredictionEntry]) -> dict[str, float]:
        entries = self.with_truth(entries)
        if not entries:
            return {}
        moments = pad_entries(entries)
        segments = segment_index(moments.gt)
        order = rank_candidates(moments.pred, moments.pred_mask, moments.duration)
        order[~moments.pred_mask.any(-1)] = -1
        metrics = self.calculate(order, segments, moments.gt_mask, self.topk)
        if self.floors is False:
            return metrics
        prior = self._prior(segments, moments.gt_mask).expand(len(entries), -1)
        rows = {
            'model': metrics,
            'floor/prior': self.calculate(prior, segments, moments.gt_mask, self.topk),
            'oracle': self.upper_bound(segments, moments.gt_mask, self.topk),
        }
        where = 'these queries' if self.floors is True else 'the train annotations'
        title = f'{len(entries)} queries; prior: how often a segment is annotated in {where}'
        return self.beside(rows, title)

    def _prior(self, segments: Tensor, mask: Tensor) -> Tensor:
        if isinstance(self.floors, Mapping):
            annotated = annotation_entries(DATASETS.build(dict(self.floors['fit_on'])))
            spans, mask = pad_spans([entry['gt'] for entry in annotated])
            segments = segment_index(spans)
        counts = torch.bincount(segments[mask], minlength=len(CANDIDATES))
        return counts.argsort(descending=True, stable=True)

    @staticmethod
    def calculate(
        order: Tensor, segments: Tensor, mask: Tensor, topk: Sequence[int] = (1, 5)
    ) -> dict[str, float]:
        """The metric of ranked candidates.

        Args:
            order: ``(Q, 21)`` candidate indices, best first; a row of -1 is an unanswered query.
            segments: ``(Q, A)`` the annotators' segments as candidate indices.
            mask: ``(Q, A)`` bool, True = valid; each query has at least one.
            topk: the values of ``k``.
        """
        answered = order[:, 0] >= 0
        ranks = order.clamp(min=0).argsort(-1) + 1  # (Q, 21): rank of each candidate
        far = len(CANDIDATES) + 1
        ranks = ranks.gather(1, segments).masked_fill(~mask, far)  # (Q, A)
        ranks = ranks.masked_fill(~answered[:, None], far)
        count = mask.sum(-1).clamp(max=3)  # annotators that count
        counted = torch.arange(ranks.shape[1]) < count[:, None]
        total = (ranks.sort(-1).values * counted).sum(-1)  # whole numbers: ties are exact
        metrics = {f'Rank@{k}': 100 * int((total <= k * count).sum()) / len(order) for k in topk}
        top_iou = chunk_iou()[order[:, :1].clamp(min=0), segments]  # (Q, A)
        top_iou = top_iou.masked_fill(~mask, -1).sort(-1, descending=True).values
        mean_iou = torch.where(counted, top_iou, 0.0).sum(-1) / count * answered
        metrics['mIoU'] = 100 * float(mean_iou.mean())
        return metrics

    @staticmethod
    def upper_bound(
        segments: Tensor, mask: Tensor, topk: Sequence[int] = (1, 5)
    ) -> dict[str, float]:
        """The best that an order of the candidates chosen for each query could score.

        Args:
            segments, mask, topk: as for :meth:`calculate`.
        """
        votes = torch.nn.functional.one_hot(segments, len(CANDIDATES)) * mask.unsqueeze(-1)
        by_votes = votes.sum(1).argsort(dim=-1, descending=True, stable=True)  # (Q, 21)
        bound = DiDeMoMetric.calculate(by_votes, segments, mask, topk)
        best = torch.zeros(len(segments), dtype=torch.float64)
        count = mask.sum(-1).clamp(max=3)
        counted = torch.arange(segments.shape[1]) < count[:, None]
        for row in chunk_iou():  # IoU of one candidate with all others
            iou = row[segments].masked_fill(~mask, -1).sort(-1, descending=True).values
            best = best.maximum(torch.where(counted, iou, 0.0).sum(-1) / count)
        return {**bound, 'mIoU': 100 * float(best.mean())}
