"""Fit the calibrator on the videos held out for validation."""

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.engine.hooks.held_out import QueryKey
from demul_mm.engine.models import models_of
from demul_mm.engine.ranks import of_all_ranks
from demul_mm.models.heads.joint_score import VIDEO
from demul_mm.registry import HOOKS
from demul_mm.structures import MomentDataSample, span_iou


@HOOKS.register_module()
class CalibrationHook(Hook):
    """After each validation, fit the model's calibrator on its top predictions.

    Their scores and hits give the probability, and the term of the joint score that is the
    likeness of query and video gives what is usual where the video holds the moment.

    The best checkpoint is saved after that and holds its own calibration; the checkpoint of an
    epoch is saved before that epoch's validation and holds the calibration of the one before. The
    validation split must be held-out train videos, which is what the default recipes use; nothing
    is fitted while testing.

    Args:
        iou_thr: the IoU at which a prediction counts as right.
    """

    # Before the checkpoint hook, after the EMA hook has put the averaged weights in place.
    priority = 'BELOW_NORMAL'

    def __init__(self, iou_thr: float = 0.5) -> None:
        self.iou_thr = iou_thr
        self._top: dict[QueryKey, tuple[int, float, bool, float]] = {}

    def before_val_epoch(self, runner: Runner) -> None:
        self._top = {}

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence[MomentDataSample] | None = None,
    ) -> None:
        for sample in outputs or []:
            for q, (moments, truth) in enumerate(zip(sample.pred_moments, sample.gt_spans)):
                if len(moments.spans) and len(truth):
                    iou = span_iou(moments.spans[:1], truth.to(moments.spans)).max()
                    joint = float(moments.joint[0])
                    video = float(moments.terms[0, VIDEO])
                    hit = bool(iou >= self.iou_thr)
                    number = int(sample.sample_idx)
                    self._top.setdefault((number, q), (number, joint, hit, video))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        # A sentence that a video is asked twice counts once.
        rows = sorted(set(of_all_ranks(self._top).values()))
        hits = torch.tensor([row[2] for row in rows])
        if len(rows) < 2 or hits.all() or not hits.any():
            runner.logger.warning(
                f'the scores stay as they are: {int(hits.sum())} of {len(rows)} validation '
                'predictions are right, and calibration takes both right and wrong ones'
            )
            return
        scores = torch.tensor([row[1] for row in rows])
        likeness = torch.tensor([row[3] for row in rows])
        for calibrator in (model.calibrator for model in models_of(runner)):
            calibrator.fit(scores, hits)
            calibrator.fit_match(likeness.to(calibrator.match_levels.device))
        runner.logger.info(
            f'calibrated on {len(rows)} predictions: probability = '
            f'sigmoid({float(calibrator.scale):.3f} * score + {float(calibrator.bias):.3f})'
        )
