"""Moment-DETR (Lei, Berg and Bansal, "QVHighlights", NeurIPS 2021)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from demul_mm.models.localizers.own_video import (
    OwnVideoBatch,
    OwnVideoLocalizer,
    touched_clips,
    unit_clips,
)
from demul_mm.registry import MODELS, TASK_UTILS
from projects.moment_detr.matcher import generalized_iou, to_borders, to_center_width
from projects.moment_detr.projection import input_projection
from projects.moment_detr.transformer import DecoderLayer, EncoderLayer, mlp, sine_positions, spread


class DetrOutput(NamedTuple):
    """What each of ``B`` decoder layers says of ``N`` moments."""

    logits: Tensor  # (Q, B, N, 2) a moment, or none
    spans: Tensor  # (Q, B, N, 2) centre and width in (0, 1)
    saliency: Tensor  # (Q, T)


def with_place(clips: Tensor, mask: Tensor) -> Tensor:
    """Unit clips with where they start and end as shares of the video: ``(V, T, in_dim + 2)``."""
    number = mask.sum(1).clamp(min=1)[:, None]
    start = torch.arange(mask.shape[1], device=mask.device)[None] / number  # (V, T)
    place = torch.stack([start, start + 1 / number], -1) * mask[..., None]
    return torch.cat([unit_clips(clips, mask), place], -1)


@MODELS.register_module()
class MomentDETR(OwnVideoLocalizer):
    """Moments of a query as a set that a transformer decodes from clips and words.

    Args:
        language: config of :class:`WordProjection` or alike, of width ``dim``.
        streams: see :class:`OwnVideoLocalizer`.
        dim: width.
        num_heads: heads of every attention.
        num_encoder: encoder layers.
        num_decoder: decoder layers.
        num_moments: moments that are predicted for each query.
        input_dropout: before each linear layer of the input projection.
        dropout: within the transformer.
        matcher: config of the matcher; its weights are those of the losses too.
        background: weight of predictions without a moment in the cross-entropy.
        margin: by which a clip within a moment should be more salient than one outside.
        saliency_weight: weight of all losses of saliency.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        dim: int = 256,
        num_heads: int = 8,
        num_encoder: int = 2,
        num_decoder: int = 2,
        num_moments: int = 10,
        input_dropout: float = 0.5,
        dropout: float = 0.1,
        matcher: dict | None = None,
        background: float = 0.1,
        margin: float = 0.2,
        saliency_weight: float = 1.0,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        self.project = input_projection(self.in_dim + 2, dim, input_dropout)
        hidden = 4 * dim
        self.encoder = nn.ModuleList(
            EncoderLayer(dim, num_heads, hidden, dropout) for _ in range(num_encoder)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(dim, num_heads, hidden, dropout) for _ in range(num_decoder)
        )
        spread(self.encoder)
        spread(self.decoder)
        self.norm = nn.LayerNorm(dim)
        self.moments = nn.Embedding(num_moments, dim)
        self.label = nn.Linear(dim, 2)
        self.span = mlp(dim, 2)
        self.saliency = nn.Linear(dim, 1)
        self.matcher = TASK_UTILS.build(matcher or dict(type='SetMatcher'))
        self.background = background
        self.margin = margin
        self.saliency_weight = saliency_weight

    def run(self, batch: OwnVideoBatch) -> DetrOutput:
        clips = self.project(with_place(batch.clips, batch.mask))[batch.owner]  # (Q, T, D)
        seen, words = batch.mask[batch.owner], batch.text
        x = torch.cat([clips, words.features], 1)  # (Q, T + L, D)
        mask = torch.cat([seen, words.mask], 1)
        place = sine_positions(seen, clips.shape[-1])
        position = torch.cat([place, words.position], 1).to(x.dtype)
        for layer in self.encoder:
            x = layer(x, mask, position)
        moments = self.moments.weight.expand(len(x), -1, -1).to(x.dtype)
        state, states = torch.zeros_like(moments), []
        for layer in self.decoder:
            state = layer(state, moments, x, mask, position)
            states.append(self.norm(state))
        decoded = torch.stack(states, 1)  # (Q, B, N, D)
        saliency = self.saliency(x[:, : seen.shape[1]]).squeeze(-1)
        return DetrOutput(self.label(decoded), self.span(decoded).float().sigmoid(), saliency)

    def loss_by_feat(
        self, out: DetrOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        saliency = self.saliency_loss(out.saliency, spans, span_mask, batch.mask[batch.owner])
        losses = dict(loss_saliency=self.saliency_weight * saliency)
        last = out.logits.shape[1] - 1
        for layer in range(last + 1):
            found = self.set_losses(out.logits[:, layer], out.spans[:, layer], spans, span_mask)
            suffix = '' if layer == last else f'_{layer}'
            losses.update({f'loss_{name}{suffix}': loss for name, loss in found.items()})
        return losses

    def set_losses(
        self, logits: Tensor, spans: Tensor, truth: Tensor, truth_mask: Tensor
    ) -> dict[str, Tensor]:
        """Losses of one decoder layer: where its moments are, and which predictions are moments.

        Args:
            logits: ``(Q, N, 2)``.
            spans: ``(Q, N, 2)`` centre and width.
            truth: ``(Q, G, 2)`` start and end.
            truth_mask: ``(Q, G)``.
        """
        weight, log_prob = self.matcher, logits.log_softmax(-1)
        index, matched = weight(log_prob[..., 0].exp(), spans, truth, truth_mask)
        chosen = spans.gather(1, index[..., None].expand(-1, -1, 2))  # (Q, G, 2)
        number = matched.sum().clamp(min=1)
        far = (chosen - to_center_width(truth)).abs().mean(-1)
        apart = 1 - generalized_iou(to_borders(chosen), truth)
        place = torch.arange(spans.shape[1], device=index.device)
        taken = ((index[..., None] == place) & matched[..., None]).any(1)  # (Q, N)
        surprise = -torch.where(taken, log_prob[..., 0], self.background * log_prob[..., 1])
        return dict(
            span=weight.span * (far * matched).sum() / number,
            giou=weight.giou * (apart * matched).sum() / number,
            label=weight.label * surprise.mean(),
        )

    def saliency_loss(
        self, saliency: Tensor, spans: Tensor, span_mask: Tensor, mask: Tensor
    ) -> Tensor:
        """Twice the mean hinge of one random clip inside a moment over one outside.

        Args:
            saliency: ``(Q, T)``.
            spans: ``(Q, G, 2)`` true moments in [0, 1].
            span_mask: ``(Q, G)``.
            mask: ``(Q, T)``.
        """
        inside = touched_clips(spans, span_mask, mask)
        outside = mask & ~inside
        chance = torch.rand_like(saliency)
        high, low = (
            saliency.gather(1, chance.masked_fill(~part, -1.0).argmax(1, keepdim=True))
            for part in (inside, outside)
        )
        both = inside.any(1) & outside.any(1)
        hinge = (self.margin + low - high).clamp(min=0).squeeze(1) * both
        return 2 * hinge.sum() / both.sum().clamp(min=1)

    def predict_by_feat(
        self, out: DetrOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = out.logits[:, -1].softmax(-1)[..., 0]
        return to_borders(out.spans[:, -1]), scores, torch.ones_like(scores, dtype=torch.bool)
