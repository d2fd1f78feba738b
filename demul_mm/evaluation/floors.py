"""Language-blind floors: the scores of answers that do not depend on the sentence.

A model that does not beat them has learnt the habits of the annotators, not to find moments, so
the metrics report them beside the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from demul_mm.evaluation.predictions import PaddedMoments, PredictionEntry, pad_entries
from demul_mm.registry import DATASETS
from demul_mm.structures import pairwise_iou


def window_grid(step: float = 0.05) -> Tensor:
    """All windows whose ends lie on a grid of the relative time: ``(W, 2)`` float64 in [0, 1]."""
    num = round(1 / step)
    ticks = torch.arange(num + 1, dtype=torch.float64) / num
    first, last = torch.triu_indices(num + 1, num + 1, offset=1)
    return torch.stack([ticks[first], ticks[last]], -1)


def relative_truth(moments: PaddedMoments) -> PaddedMoments:
    """The same truth in parts of the video, clipped to it: ``gt`` in [0, 1], ``duration`` 1."""
    gt = (moments.gt / moments.duration[:, None, None]).clamp(0, 1)
    return moments._replace(gt=gt, duration=torch.ones_like(moments.duration))


def place_windows(moments: PaddedMoments, windows: Tensor) -> PaddedMoments:
    """The same relative windows ``(N, 2)``, best first, as the predictions for every query."""
    pred = windows * moments.duration[:, None, None]  # (Q, N, 2)
    return moments._replace(pred=pred, pred_mask=torch.ones(pred.shape[:2], dtype=torch.bool))


def best_windows(
    moments: PaddedMoments, num: int = 5, iou: float = 0.5, step: float = 0.05
) -> Tensor:
    """The constant relative windows that would hit most of these queries.

    Greedy cover: the first window hits the most queries (``IoU > iou``; equal counts: the larger
    mean IoU), each next one the most of those still missed.

    Args:
        moments: truth and durations; predictions are not looked at.
        iou: the threshold of a hit.
        step: width of the grid of relative times.

    Returns:
        ``(num, 2)`` relative windows, best first.
    """
    windows = window_grid(step)
    gt = relative_truth(moments).gt
    overlap = pairwise_iou(windows.expand(len(gt), -1, 2), gt)  # (Q, W, G)
    overlap = overlap.masked_fill(~moments.gt_mask.unsqueeze(1), 0).amax(-1)  # (Q, W)
    hits = overlap > iou
    missed = torch.ones(len(hits), dtype=torch.bool)
    chosen: list[int] = []
    for _ in range(min(num, len(windows))):
        left = missed[:, None]
        gain = (hits & left).sum(0) + (overlap * left).mean(0) / 2  # the mean only breaks ties
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        missed &= ~hits[:, chosen[-1]]
    return windows[chosen]


@dataclass
class MomentFloors:
    """The floors of moment recall: the whole video, and the best constant windows.

    Args:
        fit_on: config of the data set whose annotations the windows are searched on, normally the
            train split. By default they are searched on the very queries that are scored: an
            upper bound of what constant windows can reach, so a stricter floor.
        step: width of the grid of relative times.
    """

    fit_on: Mapping[str, Any] | None = None
    step: float = 0.05

    def __post_init__(self) -> None:
        self._fitted: dict[float, Tensor] = {}
        self.description = ''

    def predictions(self, moments: PaddedMoments, iou: float) -> dict[str, PaddedMoments]:
        """What each floor answers: its name to predictions and truth, both in relative time.

        Args:
            iou: threshold by which the windows are chosen.
        """
        windows = self._windows(moments, iou)
        start, end = windows[0].tolist()
        where = 'these queries' if self.fit_on is None else 'the train annotations'
        self.description = (
            f'constant window [{start:.2f}, {end:.2f}], the best on {where} at IoU > {iou:g}'
        )
        relative = relative_truth(moments)
        return {
            'floor/whole_video': place_windows(relative, torch.tensor([[0.0, 1.0]]).double()),
            'floor/constant_window': place_windows(relative, windows),
        }

    def _windows(self, moments: PaddedMoments, iou: float) -> Tensor:
        if self.fit_on is None:
            return best_windows(moments, iou=iou, step=self.step)
        if iou not in self._fitted:
            truth = pad_entries(annotation_entries(DATASETS.build(dict(self.fit_on))))
            self._fitted[iou] = best_windows(truth, iou=iou, step=self.step)
        return self._fitted[iou]


def annotation_entries(dataset: Any) -> list[PredictionEntry]:
    """The annotations of a moment data set as entries without predictions.

    Args:
        dataset: gives ``get_data_info(i)`` with ``video_id``, ``duration``, ``queries``,
            ``query_ids`` and ``gt_spans``.
    """
    entries: list[PredictionEntry] = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        per_query: Sequence = list(zip(info['query_ids'], info['queries'], info['gt_spans']))
        for query_id, query, spans in per_query:
            entries.append(
                PredictionEntry(
                    query_id=str(query_id),
                    video_id=str(info['video_id']),
                    query=query,
                    duration=float(info['duration']),
                    gt=[[float(s), float(e)] for s, e in spans],
                    pred=[],
                )
            )
    return entries
