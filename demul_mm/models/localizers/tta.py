"""Multi-scale test: one video at several time scales, merged into one answer."""

import sys
from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData

from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.structures import MomentDataSample


@MODELS.register_module()
class MomentTTAModel(BaseTTAModel):
    """Predict each video as ``TestTimeAug`` made it several times, and merge what was found.

    The moments of all scales, in seconds, go through one suppression: of moments that overlap, the
    one with the best score stays, whatever scale it was found at, and all that agree with it vote
    on where it lies. ``ExpectedRecall`` needs no vote, since all that agree count there already.

    Args:
        module: config of the localizer; its ``test_cfg.nms`` does the merging.
        vote_iou: moments whose IoU with a kept one is at least this vote on its borders, weighted
            by score times IoU; None: no voting.
        num_candidates: moments of each scale and query that go into the merging.
    """

    def __init__(
        self, module: dict, vote_iou: float | None = 0.7, num_candidates: int = 64
    ) -> None:
        if not isinstance(module, dict):
            raise TypeError(
                f'module is a {type(module).__name__}; give the config of the localizer: its '
                'suppression is moved behind the merging'
            )
        if num_candidates < 1:
            raise ValueError(f'num_candidates={num_candidates}: give at least 1')
        test_cfg = dict(module.get('test_cfg') or {})
        merging = dict(test_cfg.get('nms') or dict(type='MomentNMS'))
        nms = TASK_UTILS.build(merging)
        if nms.of_probabilities:
            nms = TASK_UTILS.build(dict(merging, vote_iou=vote_iou))
        else:  # as many of each scale as of one alone
            num_candidates = min(num_candidates, nms.num_candidates)
            nms.num_candidates = sys.maxsize
        test_cfg['nms'] = dict(type='MomentNMS', iou_thr=1.0, max_keep=num_candidates)
        super().__init__(MODELS.build({**module, 'test_cfg': test_cfg}))
        self.nms = nms

    def merge_preds(
        self, data_samples_list: Sequence[Sequence[MomentDataSample]]
    ) -> list[MomentDataSample]:
        """For each video its samples at all scales, to one sample each.

        Other fields are those of the first scale.
        """
        merged = []
        for scales in data_samples_list:
            sample = scales[0].clone()
            found = zip(*(scale.pred_moments for scale in scales))
            sample.pred_moments = [self.merge_moments(moments) for moments in found]
            merged.append(sample)
        return merged

    def merge_moments(self, moments: Sequence[InstanceData]) -> InstanceData:
        """Suppress the moments of one query at all scales together; best first."""
        joined = {
            key: torch.cat([part[key] for part in moments])
            for key, rows in moments[0].items()
            if all(key in part and part[key].shape[1:] == rows.shape[1:] for part in moments)
        }
        if not len(joined['scores']):
            return InstanceData(**joined)
        of_probabilities = self.nms.of_probabilities
        found = joined['spans'][None]
        rated = joined['scores' if of_probabilities else 'joint'][None]
        every = torch.ones_like(rated, dtype=torch.bool)
        spans, scores, valid, index = (out[0] for out in self.nms(found, rated, every))
        kept = {key: rows[index[valid]] for key, rows in joined.items()}
        # A mean of places that all are at the video's end may be rounded beyond it.
        spans = spans[valid].clamp(found.min(), found.max())
        kept['spans'] = spans
        if of_probabilities:
            kept['scores'] = scores[valid]
        else:
            calibrator = self.module.calibrator
            kept['joint'] = scores[valid]
            kept['scores'] = calibrator(kept['joint'].to(calibrator.scale.device)).to(found)
        return InstanceData(**kept)
