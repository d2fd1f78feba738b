"""The corpus protocol of TVR (jayleicn/TVRetrieval:standalone_eval/eval.py): VR, SVMR and VCMR."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from demul_mm.evaluation.floors import best_windows
from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.metrics.moment_recall import check_options
from demul_mm.evaluation.predictions import PredictionEntry, pad_entries, pad_spans
from demul_mm.registry import METRICS
from demul_mm.structures import pairwise_iou

Rows = Sequence[Sequence[Any]]  # [[video_id, start, end, score], ...], best first


@METRICS.register_module()
class CorpusMomentMetric(EntryMetric):
    """``VR/R@K``, ``SVMR/R@K,IoU=m`` and ``VCMR/R@K,IoU=m``, in percent.

    For each query the best ``max_pred`` rows ``[video_id, start, end, score]`` count. VCMR: one
    of the first K has the right video and passes the IoU. SVMR: the same after the rows of other
    videos are dropped. VR: the right video is among the first K *distinct* videos. An empty list
    is a miss, a query without a list an error.

    One list of rows is too short for three tasks: many rows of few videos are good for VCMR, one
    row of each of many videos for VR. So, as in the protocol's script, a sample may bring lists of
    their own: ``pred_videos`` counts for VR and ``pred_moments``, found in the right video, for
    SVMR.

    Args:
        topk: the values of K.
        ious: the values of m.
        iou_op: 'ge' (the protocol) or 'gt'.
        float32: compare in single precision, as the protocol's script does.
        max_pred: rows of each query that count.
        min_agree: how many true segments a prediction must pass. By default the script's rule for
            DiDeMo: 2 where a query has at least 4 of them, else 1.
        floors: report answers that do not read the sentence: the videos with the most queries in
            the place of a search, and the best constant window in them.
        collect_device, prefix, collect_dir: see :class:`EntryMetric`.
    """

    def __init__(
        self,
        topk: Sequence[int] = (1, 5, 10, 100),
        ious: Sequence[float] = (0.5, 0.7),
        iou_op: str = 'ge',
        float32: bool = True,
        max_pred: int = 100,
        min_agree: int | None = None,
        floors: bool = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        check_options(topk, ious, iou_op)
        self.options: dict[str, Any] = dict(
            topk=tuple(topk),
            ious=tuple(ious),
            iou_op=iou_op,
            float32=float32,
            max_pred=max_pred,
            min_agree=min_agree,
        )
        self.floors = floors

    def compute_entries(self, entries: Sequence[PredictionEntry]) -> dict[str, float]:
        entries = self.with_truth(entries)
        if not entries:
            return {}
        metrics = percent(self._hits(entries))
        if not self.floors:
            return metrics
        rows = {'model': metrics, **self._floors(entries)}
        videos = len({entry['video_id'] for entry in entries})
        return self.beside(rows, f'{len(entries)} queries on {videos} videos')

    def query_values(self, entries: Sequence[PredictionEntry]) -> dict[str, np.ndarray]:
        return {key: hit.double().numpy() for key, hit in self._hits(entries).items()}

    def _hits(self, entries: Sequence[PredictionEntry]) -> dict[str, Tensor]:
        """Which queries each metric counts as found, VR and SVMR by the lists of their own."""
        answers = {entry['query_id']: entry['corpus'] for entry in entries if 'corpus' in entry}
        hits = corpus_hits(answers, entries, **self.options)
        for task, key, rows_of in (('VR/', 'videos', _video_rows), ('SVMR/', 'pred', _own_rows)):
            own = {entry['query_id']: rows_of(entry) for entry in entries if entry.get(key)}
            if own:
                found = corpus_hits({**answers, **own}, entries, **self.options)
                hits.update({k: v for k, v in found.items() if k.startswith(task)})
        return hits

    def _floors(self, entries: Sequence[PredictionEntry]) -> dict[str, dict[str, float]]:
        """VR and VCMR of the most asked-about videos, SVMR of constant windows in the right one."""
        windows = best_windows(pad_entries(entries), iou=self.options['ious'][0]).tolist()
        counts = Counter(entry['video_id'] for entry in entries)
        durations = {entry['video_id']: entry['duration'] for entry in entries}
        start, end = windows[0]
        frequent = [
            [video, start * durations[video], end * durations[video], 0.0]
            for video, _ in counts.most_common(self.options['max_pred'])
        ]
        frequent_for_all = {entry['query_id']: frequent for entry in entries}
        searched = self.calculate(frequent_for_all, entries, **self.options)
        given = {
            entry['query_id']: [
                [entry['video_id'], s * entry['duration'], e * entry['duration'], 0.0]
                for s, e in windows
            ]
            for entry in entries
        }
        known = self.calculate(given, entries, **self.options)
        return {
            'floor/frequent_videos': {k: v for k, v in searched.items() if k[:4] != 'SVMR'},
            'floor/constant_window': {k: v for k, v in known.items() if k[:4] == 'SVMR'},
        }

    @staticmethod
    def calculate(
        answers: Mapping[str, Rows], entries: Sequence[PredictionEntry], **options: Any
    ) -> dict[str, float]:
        """The metric of plain lists; arguments as for :func:`corpus_hits`."""
        return percent(corpus_hits(answers, entries, **options))


def corpus_hits(
    answers: Mapping[str, Rows],
    entries: Sequence[PredictionEntry],
    topk: Sequence[int] = (1, 5, 10, 100),
    ious: Sequence[float] = (0.5, 0.7),
    iou_op: str = 'ge',
    float32: bool = True,
    max_pred: int = 100,
    min_agree: int | None = None,
) -> dict[str, Tensor]:
    """Which queries are found: metric key to ``(Q,)`` bool, in the order of ``entries``.

    Args:
        answers: query id to its rows, best first.
        entries: the truth: ``query_id``, ``video_id`` and ``gt`` of each query.
        topk, ious, iou_op, float32, max_pred, min_agree: as for :class:`CorpusMomentMetric`.

    Raises:
        ValueError: a query has no answer, or an answer no query.
    """
    check_answered(answers, [entry['query_id'] for entry in entries])
    rows = [answers[entry['query_id']][:max_pred] for entry in entries]
    videos = [[row[0] for row in answer] for answer in rows]
    true_videos = [entry['video_id'] for entry in entries]
    rank = torch.tensor([_distinct_rank(v, true) for v, true in zip(videos, true_videos)])
    hits = {f'VR/R@{k}': rank < k for k in topk}
    spans, valid = pad_spans([[(row[1], row[2]) for row in answer] for answer in rows])
    own = torch.zeros_like(valid)
    own[valid] = torch.tensor(
        [name == true for names, true in zip(videos, true_videos) for name in names],
        dtype=torch.bool,
    )
    gt, gt_mask = pad_spans([entry['gt'] for entry in entries])
    dtype = torch.float32 if float32 else torch.float64
    iou = pairwise_iou(spans.to(dtype), gt.to(dtype)).masked_fill(~gt_mask.unsqueeze(1), -1)
    agree = torch.where(gt_mask.sum(-1) >= 4, 2, 1) if min_agree is None else min_agree
    place = own.cumsum(-1) - 1  # position among the rows of the right video
    for m in ious:
        passed = (iou >= m if iou_op == 'ge' else iou > m).sum(-1)  # (Q, N)
        right = own & (passed >= torch.as_tensor(agree).reshape(-1, 1))
        for k in topk:
            hits[f'SVMR/R@{k},IoU={m:g}'] = (right & (place < k)).any(-1)
            hits[f'VCMR/R@{k},IoU={m:g}'] = right[:, :k].any(-1)
    return hits


def check_answered(answers: Mapping[str, Rows], query_ids: Sequence[str]) -> None:
    """Raise ValueError unless exactly the asked queries are answered."""
    missing = [query_id for query_id in query_ids if query_id not in answers]
    if missing:
        raise ValueError(
            f'{len(missing)} of {len(query_ids)} queries have no corpus predictions (the first: '
            f'{missing[0]!r}); every query must be answered, with an empty list if need be'
        )
    unknown = sorted(set(answers) - set(query_ids))
    if unknown:
        raise ValueError(
            f'{len(unknown)} answers belong to no query (the first: {unknown[0]!r}); were they '
            'made for another split?'
        )


def _video_rows(entry: PredictionEntry) -> Rows:
    return [[video, 0.0, 0.0, 0.0] for video in entry['videos']]


def _own_rows(entry: PredictionEntry) -> Rows:
    return [[entry['video_id'], *row] for row in entry['pred']]


def _distinct_rank(videos: Sequence[str], true_video: str) -> int:
    distinct = list(dict.fromkeys(videos))
    return distinct.index(true_video) if true_video in distinct else len(distinct) + 10**9


def percent(hits: Mapping[str, Tensor]) -> dict[str, float]:
    """The share of hits of each metric."""
    return {key: 100 * int(hit.sum()) / len(hit) for key, hit in hits.items()}
