"""2D-TAN (Zhang, Peng, Fu and Luo, AAAI 2020)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer, unit_clips
from demul_mm.registry import MODELS
from demul_mm.structures import pairwise_iou
from projects.tan2d.moment_map import MapConvolutions, MomentMap, scaled_iou, share_of_parts


class MapOutput(NamedTuple):
    """What is said of the ``M`` moments of each query's video."""

    logits: Tensor  # (Q, M)


class MapLocalizer(OwnVideoLocalizer):
    """Moments on a two-dimensional map that talk to their neighbours; of both methods.

    Args:
        language: config of a :class:`LanguageEncoder`; the sentence is read.
        streams: see :class:`OwnVideoLocalizer`.
        dim: channels of the map.
        num_clips: equal parts that a video is divided into.
        num_layers: convolutions on the map.
        kernel_size: width of each.
        low: IoU up to which a moment is wrong.
        high: IoU from which it is right.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        dim: int = 512,
        num_clips: int = 16,
        num_layers: int = 8,
        kernel_size: int = 5,
        low: float = 0.5,
        high: float = 1.0,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        self.map = MomentMap(num_clips)
        self.project = nn.Linear(self.in_dim, dim)
        self.video = nn.Conv2d(dim, dim, 1)
        self.convolutions = MapConvolutions(dim, num_layers, kernel_size)
        self.low = low
        self.high = high

    def moment_map(self, batch: OwnVideoBatch) -> Tensor:
        """Features of all moments of the videos, without any query: ``(V, D, N, N)``."""
        clips = F.relu(self.project(unit_clips(batch.clips, batch.mask)))
        share = share_of_parts(batch.mask, self.map.num_clips)
        return self.map(share.to(clips.dtype) @ clips)

    def overlap(self, spans: Tensor, span_mask: Tensor) -> Tensor:
        """IoU of each moment with the true moment that it fits best: ``(Q, M)``."""
        iou = pairwise_iou(self.map.spans.expand(len(spans), -1, -1), spans)
        return F.pad(iou * span_mask[:, None], (0, 1)).amax(-1)

    def iou_loss(self, logits: Tensor, iou: Tensor) -> Tensor:
        """Cross-entropy with the scaled IoU, over all moments."""
        target = scaled_iou(iou, self.low, self.high)
        return F.binary_cross_entropy_with_logits(logits, target)


@MODELS.register_module()
class TAN2D(MapLocalizer):
    """The sentence is multiplied into every moment before the convolutions.

    Args:
        language: see :class:`MapLocalizer`.
        streams: see there.
        text_dim: width of the language.
        dim: channels of the map.
        **kwargs: see :class:`MapLocalizer`.
    """

    def __init__(
        self, language: dict, streams: dict, text_dim: int = 128, dim: int = 512, **kwargs: Any
    ) -> None:
        super().__init__(language, streams, dim, **kwargs)
        self.sentence = nn.Linear(text_dim, dim)
        self.score = nn.Conv2d(dim, 1, 1)

    def run(self, batch: OwnVideoBatch) -> MapOutput:
        videos = self.video(self.moment_map(batch))
        sentence = self.sentence(batch.text.sentence)[:, :, None, None]
        fused = F.normalize(videos[batch.owner] * sentence, dim=1) * self.map.valid
        logits = self.score(self.convolutions(fused, self.map.valid)).squeeze(1)  # (Q, N, N)
        return MapOutput(self.map.take(logits))

    def loss_by_feat(
        self, out: MapOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        return dict(loss_iou=self.iou_loss(out.logits, self.overlap(spans, span_mask)))

    def predict_by_feat(
        self, out: MapOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = out.logits.sigmoid()
        spans = self.map.spans.expand(len(scores), -1, -1)
        return spans, scores, torch.ones_like(scores, dtype=torch.bool)
