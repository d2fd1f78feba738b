"""The protocol of QVHighlights (jayleicn/moment_detr:standalone_eval/eval.py)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from demul_mm.evaluation.floors import MomentFloors
from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.metrics.moment_recall import best_iou
from demul_mm.evaluation.predictions import PaddedMoments, PredictionEntry, pad_entries
from demul_mm.registry import METRICS
from demul_mm.structures import pairwise_iou

IOUS = tuple(n / 100 for n in range(50, 100, 5))
MAX_WINDOWS = 10
# Seconds: lower end (exclusive) and upper end of each group of true moments.
LENGTHS = {'short': (0, 10), 'middle': (10, 30), 'long': (30, 150)}
# The least rating that makes a clip a highlight.
RATINGS = {'Fair': 2, 'Good': 3, 'VeryGood': 4}


@METRICS.register_module()
class QVHighlightsMetric(EntryMetric):
    """Moments and highlights as QVHighlights counts them, in percent.

    - ``R1@m``: the best prediction fits one of the true moments by ``IoU >= m``.
    - ``mAP@m``: mean over queries of the average precision of the ten best predictions; ``mAP``:
      the mean over ``m`` = .5, .55, ..., .95; ``mAP/short``, ``mAP/middle`` and ``mAP/long``: the
      same, where only true moments of up to 10, 30 and 150 s count, and queries that have one.
    - ``HL-mAP/Fair``, ``/Good`` and ``/VeryGood``: average precision of the clips by
      ``pred_saliency``, where clips that an annotator rates 2, 3 or 4 and more are highlights;
      mean over annotators. ``HIT@1/...``: the share of queries whose best clip is a highlight for
      one of them. Only of queries with ``saliency`` and ``pred_saliency``.

    A query without a prediction is a miss, and one whose true moments are unknown is left out.

    Args:
        floors: report what answers without reading the sentence score: True, False, or the options
            of :class:`~demul_mm.evaluation.floors.MomentFloors`, among them ``fit_on``.
        collect_device, prefix, collect_dir: see :class:`EntryMetric`.
    """

    def __init__(
        self,
        floors: bool | Mapping[str, Any] = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        options = dict(floors) if isinstance(floors, Mapping) else {}
        self.floors = MomentFloors(**options) if floors is not False else None

    def compute_entries(self, entries: Sequence[PredictionEntry]) -> dict[str, float]:
        entries = self.with_truth(entries)
        if not entries:
            return {}
        rows = {'model': _percent(self.query_values(entries))}
        if self.floors is None:
            return rows['model']
        moments = pad_entries(entries)
        for name, floor in self.floors.predictions(moments, iou=0.5).items():
            seconds = floor.pred * moments.duration[:, None, None]
            rows[name] = _percent(
                moment_values(moments._replace(pred=seconds, pred_mask=floor.pred_mask))
            )
        return self.beside(rows, f'{len(entries)} queries; {self.floors.description}')

    def query_values(self, entries: Sequence[PredictionEntry]) -> dict[str, np.ndarray]:
        return {**moment_values(pad_entries(entries)), **highlight_values(entries)}


def _percent(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    counted = {key: found[~np.isnan(found)] for key, found in values.items()}
    return {key: 100 * float(found.mean()) for key, found in counted.items() if len(found)}


def moment_values(moments: PaddedMoments) -> dict[str, np.ndarray]:
    """What each query adds to ``R1`` and ``mAP``: key to ``(Q,)``, NaN where it is not counted."""
    keep = slice(MAX_WINDOWS)
    moments = moments._replace(pred=moments.pred[:, keep], pred_mask=moments.pred_mask[:, keep])
    top = best_iou(moments)[:, :1]  # none where nobody predicted anything
    values = {f'R1@{m}': (top >= m).any(-1).double() for m in (0.5, 0.7)}
    precision = average_precision(moments)  # (Q, M)
    values.update({f'mAP@{m}': precision[:, IOUS.index(m)] for m in (0.5, 0.75)})
    values['mAP'] = precision.mean(-1)
    length = moments.gt[..., 1] - moments.gt[..., 0]
    for name, (low, high) in LENGTHS.items():
        group = moments._replace(gt_mask=moments.gt_mask & (length > low) & (length <= high))
        values[f'mAP/{name}'] = average_precision(group).mean(-1)
    return {key: value.numpy() for key, value in values.items()}


def average_precision(moments: PaddedMoments, ious: Sequence[float] = IOUS) -> Tensor:
    """Average precision of the predictions of each query, with interpolated precision.

    Each prediction, best first, takes the true moment that it fits best of those not yet taken, if
    their IoU is at least the threshold.

    Args:
        moments: padded predictions, best first, and truth.
        ious: ``M`` thresholds.

    Returns:
        ``(Q, M)`` float64 in [0, 1]; NaN for queries without a true moment.
    """
    num_pred, num_gt = moments.pred.shape[1], moments.gt.shape[1]
    threshold = torch.tensor(ious, dtype=torch.float64)[:, None]  # (M, 1)
    free = moments.gt_mask[:, None].expand(-1, len(ious), -1)  # (Q, M, G)
    iou = pairwise_iou(moments.pred, moments.gt).masked_fill(~moments.pred_mask[..., None], -1)
    hits = []
    for fit in iou.unbind(1):
        fits = torch.where(free & (fit[:, None] >= threshold), fit[:, None], -1.0)  # (Q, M, G)
        # The last of those that fit equally well, as the protocol's script takes it.
        taken = num_gt - 1 - fits.flip(-1).argmax(-1, keepdim=True)
        hits.append(fits.gather(-1, taken) >= 0)
        free = free.scatter(-1, taken, free.gather(-1, taken) & ~hits[-1])
    if not hits or not num_gt:
        zero = torch.zeros(len(moments.gt), len(ious), dtype=torch.float64)
        return zero.masked_fill(~moments.gt_mask.any(-1, keepdim=True), torch.nan)
    hit = torch.cat(hits, -1).double()  # (Q, M, N)
    precision = hit.cumsum(-1) / torch.arange(1, num_pred + 1)
    precision = precision.flip(-1).cummax(-1).values.flip(-1)  # the best at this recall or above
    return (hit * precision).sum(-1) / moments.gt_mask.sum(-1)[:, None]  # 0 / 0 is NaN


def highlight_values(entries: Sequence[PredictionEntry]) -> dict[str, np.ndarray]:
    """What each query adds to ``HL-mAP`` and ``HIT@1``; nothing where none has saliency."""
    rated = [i for i, e in enumerate(entries) if e.get('saliency') and e.get('pred_saliency')]
    if not rated:
        return {}
    values = {
        f'{metric}/{name}': np.full(len(entries), np.nan)
        for name in RATINGS
        for metric in ('HL-mAP', 'HIT@1')
    }
    for i in rated:
        truth = np.asarray(entries[i]['saliency'])  # (T, A)
        scores = np.zeros(len(truth))
        given = entries[i]['pred_saliency']
        scores[: len(given)] = given[: len(scores)]
        best = int(np.argmax(given))
        for name, least in RATINGS.items():
            relevant = truth >= least
            values[f'HL-mAP/{name}'][i] = np.mean(
                [clip_precision(column, scores) for column in relevant.T]
            )
            values[f'HIT@1/{name}'][i] = best < len(truth) and relevant[best].any()
    return values


def clip_precision(relevant: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of clips, with interpolated precision.

    Clips of one score come together, and each recall that is reached counts once, however many
    highlights it takes to reach it: so does the protocol's script.

    Args:
        relevant: ``(T,)`` bool.
        scores: ``(T,)``.

    Returns:
        In [0, 1]; 0 where no clip is relevant.
    """
    order = np.argsort(-scores, kind='stable')
    last = np.append(np.diff(scores[order]) != 0, True)  # of the clips of one score
    found = np.cumsum(relevant[order])[last]
    precision = found / (np.flatnonzero(last) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    rises = np.diff(found, prepend=0) > 0
    return float(precision[rises].mean()) if rises.any() else 0.0
