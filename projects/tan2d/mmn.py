"""MMN (Wang, Wang, Wu and Wu, "Negative Sample Matters", AAAI 2022)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.localizers.own_video import OwnVideoBatch
from demul_mm.registry import MODELS
from projects.tan2d.model import MapLocalizer


class MatchOutput(NamedTuple):
    """Unit vectors of moments and queries, in the space of matching and in that of IoU."""

    moment: Tensor  # (V, M, S)
    query: Tensor  # (Q, S)
    moment_iou: Tensor  # (V, M, S)
    query_iou: Tensor  # (Q, S)


@MODELS.register_module()
class MMN(MapLocalizer):
    """Moments of the map and sentences in a joint space, contrasted across videos.

    No query enters the map: a video is convolved once for all its sentences.

    Args:
        language: see :class:`MapLocalizer`.
        streams: see there.
        text_dim: width of the language.
        dim: channels of the map.
        shared_dim: width of the joint spaces.
        scale: factor of the cosine that stands for the IoU.
        margin: that a right pair must win by.
        negative_iou: moments of the own video below it are wrong ones.
        contrast: config of the contrastive loss.
        **kwargs: see :class:`MapLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        text_dim: int = 128,
        dim: int = 512,
        shared_dim: int = 256,
        scale: float = 10.0,
        margin: float = 0.4,
        negative_iou: float = 0.5,
        contrast: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(language, streams, dim, **kwargs)
        self.text = nn.ModuleList(nn.Linear(text_dim, shared_dim) for _ in range(2))
        self.moments = nn.ModuleList(nn.Linear(dim, shared_dim) for _ in range(2))
        self.scale = scale
        self.margin = margin
        self.negative_iou = negative_iou
        self.contrast = MODELS.build(
            contrast or dict(type='MultiPositiveInfoNCE', temperature=0.1, loss_weight=0.05)
        )

    def run(self, batch: OwnVideoBatch) -> MatchOutput:
        videos = self.video(self.moment_map(batch)) * self.map.valid
        cells = self.map.take(self.convolutions(videos, self.map.valid)).transpose(1, 2)
        moment, moment_iou = (F.normalize(layer(cells).float(), dim=-1) for layer in self.moments)
        query, query_iou = (
            F.normalize(layer(batch.text.sentence).float(), dim=-1) for layer in self.text
        )
        return MatchOutput(moment, query, moment_iou, query_iou)

    def loss_by_feat(
        self, out: MatchOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        iou, owner = self.overlap(spans, span_mask), batch.owner
        own = owner[:, None] == torch.arange(len(out.moment), device=owner.device)  # (Q, V)
        alike = torch.einsum('qs,vms->qvm', out.query, out.moment)
        best = (iou == iou.amax(1, keepdim=True)) & span_mask.any(1, keepdim=True)  # (Q, M)
        right = own[..., None] & best[:, None]  # (Q, V, M)
        counted = right | ~own[..., None] | (iou < self.negative_iou)[:, None]
        moment = out.moment[owner].gather(
            1, iou.argmax(1)[:, None, None].expand(-1, -1, out.moment.shape[-1])
        )
        back = moment.squeeze(1) @ out.query.T  # (Q, Q): the best moment of a query with all
        same = torch.eye(len(owner), dtype=torch.bool, device=owner.device)
        others = owner[:, None] != owner
        logits = self.scale * self.cosines(out.query_iou, out.moment_iou, owner)
        return dict(
            loss_iou=self.iou_loss(logits, iou),
            loss_query=self.contrast(
                (alike - self.margin * right).flatten(1), right.flatten(1), counted.flatten(1)
            ),
            loss_moment=self.contrast(back - self.margin * same, same, others | same),
        )

    @staticmethod
    def cosines(query: Tensor, moment: Tensor, owner: Tensor) -> Tensor:
        """Of each query with the moments of its video: ``(Q, M)``."""
        return torch.einsum('qs,qms->qm', query, moment[owner])

    def predict_by_feat(
        self, out: MatchOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The probability of overlap, times the root of the match in [0, 1]."""
        with torch.autocast(batch.mask.device.type, enabled=False):
            match = (1 + self.cosines(out.query, out.moment, batch.owner)) / 2
            logits = self.scale * self.cosines(out.query_iou, out.moment_iou, batch.owner)
        scores = logits.sigmoid() * match.clamp(min=0).sqrt()
        spans = self.map.spans.expand(len(scores), -1, -1)
        return spans, scores, torch.ones_like(scores, dtype=torch.bool)
