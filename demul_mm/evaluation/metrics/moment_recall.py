"""R@n,IoU=m and mIoU: finding a moment in a video that is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from demul_mm.evaluation.floors import MomentFloors
from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.predictions import PaddedMoments, PredictionEntry, pad_entries
from demul_mm.registry import METRICS
from demul_mm.structures import pairwise_iou

IOU_OPS = ('ge', 'gt')
TIE = 1e-9


def best_iou(moments: PaddedMoments, float32: bool = False) -> Tensor:
    """IoU of each prediction with the true moment that it fits best.

    Args:
        float32: compute in single precision, as the TVR script does.

    Returns:
        ``(Q, N)``; -1 where there is no prediction, and where the query has no true moment.
    """
    dtype = torch.float32 if float32 else torch.float64
    if not moments.gt.shape[1]:
        return torch.full_like(moments.pred_mask, -1, dtype=dtype)
    iou = pairwise_iou(moments.pred.to(dtype), moments.gt.to(dtype))  # (Q, N, G)
    iou = iou.nan_to_num(0).masked_fill(~moments.gt_mask.unsqueeze(1), -1).amax(-1)  # (Q, N)
    return iou.masked_fill(~moments.pred_mask, -1)


@METRICS.register_module()
class MomentRecall(EntryMetric):
    """``R@n,IoU=m`` and ``mIoU``, in percent.

    ``R@n,IoU=m`` is the share of queries for which one of the ``n`` best predictions overlaps a
    true moment by ``m``; ``mIoU`` the mean IoU of the best-scored prediction. Where a query has
    several true moments, the one that fits counts. Fewer than ``n`` predictions, or none, is a
    miss.
    Queries whose true moment is unknown are left out.

    Args:
        topk: the values of ``n``.
        ious: the values of ``m``, in (0, 1].
        iou_op: 'ge' counts ``IoU >= m`` (MMN, VSLNet, SnAG, Moment-DETR, TVR), 'gt' counts
            ``IoU > m`` (2D-TAN, TGN, mmaction2's RecallatTopK). Papers differ, and so do results.
        tolerance: for 'gt' only: an IoU must exceed ``m`` by more than this. The default makes a
            tie a miss even where rounding lifts it over ``m``, as adding 1e-8 to the denominator
            does in TGN's script; 0 is the plain comparison of 2D-TAN's.
        float32: compare in single precision, as the TVR script does.
        floors: report what answers without reading the sentence score: True, False, or the options
            of :class:`~demul_mm.evaluation.floors.MomentFloors`, among them ``fit_on``.
        collect_device, prefix, collect_dir: see :class:`EntryMetric`.

    Example:
        >>> truth = [[[0., 10.]], [[5., 10.]]]
        >>> guess = [[[0., 5.]], [[20., 30.], [5., 9.]]]
        >>> MomentRecall.calculate(*pad_spans(guess), *pad_spans(truth), topk=(1, 2), ious=(0.5,))
        {'R@1,IoU=0.5': 50.0, 'R@2,IoU=0.5': 100.0, 'mIoU': 25.0}
    """

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        ious: Sequence[float] = (0.3, 0.5, 0.7),
        iou_op: str = 'ge',
        tolerance: float = TIE,
        float32: bool = False,
        floors: bool | Mapping[str, Any] = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        check_options(topk, ious, iou_op)
        self.ious = tuple(ious)
        self.options: dict[str, Any] = dict(
            topk=tuple(topk), ious=self.ious, iou_op=iou_op, tolerance=tolerance, float32=float32
        )
        options = dict(floors) if isinstance(floors, Mapping) else {}
        self.floors = MomentFloors(**options) if floors is not False else None

    def compute_entries(self, entries: Sequence[PredictionEntry]) -> dict[str, float]:
        entries = self.with_truth(entries)
        if not entries:
            return {}
        moments = pad_entries(entries)
        metrics = self.calculate(*moments[:4], **self.options)
        if self.floors is None:
            return metrics
        rows = {'model': metrics}
        middle = self.ious[len(self.ious) // 2]
        for name, floor in self.floors.predictions(moments, iou=middle).items():
            rows[name] = self.calculate(*floor[:4], **{**self.options, 'tolerance': 0.0})
        if moments.pred_mask.any():
            rows['oracle'] = self._oracle(moments)
        title = (
            f'{len(entries)} queries, iou_op={self.options["iou_op"]!r}; {self.floors.description}'
        )
        return self.beside(rows, title)

    def query_values(self, entries: Sequence[PredictionEntry]) -> dict[str, np.ndarray]:
        found = per_query(pad_entries(entries), **self.options)
        return {key: value.numpy() for key, value in found.items()}

    def _oracle(self, moments: PaddedMoments) -> dict[str, float]:
        """What a perfect ranking of the model's own predictions would score."""
        best = best_iou(moments, self.options['float32'])
        index = best.argmax(-1)[:, None]
        pred = moments.pred.gather(1, index.unsqueeze(-1).expand(-1, -1, 2))
        chosen = moments._replace(pred=pred, pred_mask=moments.pred_mask.gather(1, index))
        found = self.calculate(*chosen[:4], **self.options)
        return {key: value for key, value in found.items() if key[:4] in ('R@1,', 'mIoU')}

    @staticmethod
    def calculate(
        pred: Tensor,
        pred_mask: Tensor,
        gt: Tensor,
        gt_mask: Tensor,
        **options: Any,
    ) -> dict[str, float]:
        """The metric of padded arrays.

        Args:
            pred: ``(Q, N, 2)`` predictions, best first, in the unit of ``gt``.
            pred_mask: ``(Q, N)`` bool, True = valid.
            gt: ``(Q, G, 2)`` true moments.
            gt_mask: ``(Q, G)`` bool, True = valid.
            options: ``topk``, ``ious``, ``iou_op``, ``tolerance``, ``float32``, as for the class.

        Returns:
            ``R@n,IoU=m`` for each n and m, and ``mIoU``, in percent; nothing for ``Q = 0``.
        """
        moments = PaddedMoments(pred, pred_mask, gt, gt_mask, torch.zeros(len(pred)))
        values = per_query(moments, **options)
        if not len(pred):
            return {}
        return {key: 100 * float(value.sum()) / len(pred) for key, value in values.items()}


def per_query(
    moments: PaddedMoments,
    topk: Sequence[int] = (1, 5),
    ious: Sequence[float] = (0.3, 0.5, 0.7),
    iou_op: str = 'ge',
    tolerance: float = TIE,
    float32: bool = False,
) -> dict[str, Tensor]:
    """What each query adds to :class:`MomentRecall`: metric key to ``(Q,)`` float64 in [0, 1]."""
    check_options(topk, ious, iou_op)
    best = best_iou(moments, float32)  # (Q, N)
    values = {}
    for n in topk:
        top = best[:, :n]
        for m in ious:
            hit = top >= m if iou_op == 'ge' else top > m + tolerance
            values[f'R@{n},IoU={m:g}'] = hit.any(-1).double()
    values['mIoU'] = best[:, :1].clamp(min=0).double().sum(-1)
    return values


def check_options(topk: Sequence[int], ious: Sequence[float] = (0.5,), iou_op: str = 'ge') -> None:
    """Refuse what cannot be meant: a number or a string for a list, ranks below 1, no share."""
    if iou_op not in IOU_OPS:
        raise ValueError(f"iou_op is {iou_op!r}; it must be 'ge' (IoU >= m) or 'gt' (IoU > m)")
    for name, values in (('topk', topk), ('ious', ious)):
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise TypeError(f'{name} is {values!r}; give a list, as {name}=[{values}]')
    if not topk or any(n < 1 for n in topk):
        raise ValueError(f'topk is {tuple(topk)}; give whole numbers from 1 up')
    if not ious or any(not 0 < m <= 1 for m in ious):
        raise ValueError(f'ious is {tuple(ious)}; give numbers in (0, 1]')
