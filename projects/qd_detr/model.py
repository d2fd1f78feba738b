"""QD-DETR (Moon, Hyun, Park, Park and Heo, CVPR 2023)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import Dropout
from demul_mm.models.localizers.own_video import OwnVideoBatch, in_float32, touched_clips
from demul_mm.registry import MODELS
from projects.moment_detr.model import DetrOutput, MomentDETR, with_place
from projects.moment_detr.transformer import Attention, feed_forward, mlp, sine_positions, spread


class ReadingLayer(nn.Module):
    """Clips read the words; then a feed-forward net; each added and normalised."""

    def __init__(self, dim: int, heads: int = 8, hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.ffn = feed_forward(dim, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, clips: Tensor, place: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """``clips``, ``place (Q, T, D)``, ``words (Q, L, D)``, ``mask (Q, L)``."""
        clips = clips + self.dropout(self.attention(clips + place, words, words, mask))
        return self.norms[1](clips + self.dropout(self.ffn(self.norms[0](clips))))


def net(dim: int, out_dim: int) -> nn.Sequential:
    """Linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out_dim))


def sine_of_anchors(anchors: Tensor, dim: int, temperature: float = 10_000.0) -> Tensor:
    """Sines and cosines of centre and width ``(..., 2)``: ``(..., 2 dim)``."""
    band = torch.arange(dim // 2, device=anchors.device) * 2 / dim
    angle = anchors[..., None] * 2 * torch.pi / temperature**band  # (..., 2, dim / 2)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-3)


class AnchorDecoderLayer(nn.Module):
    """Anchors look at each other, then at the clips by content and, apart from it, by place.

    The products of both kinds add up, so that attention can stay around an anchor whatever is there
    (Liu et al., "DAB-DETR", ICLR 2022, section 3).

    Args:
        dim: width ``D``.
        heads: of both attentions.
        hidden: width of the feed-forward net.
        dropout: rate.
        first: whether contents, of which anchors have none yet, get the places too.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        hidden: int = 1024,
        dropout: float = 0.1,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.own = Attention(dim, heads, dropout)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.anchor_place, self.clip_place = (nn.Linear(dim, dim) for _ in range(2))
        self.start = nn.Linear(dim, dim) if first else None
        self.out = nn.Linear(dim, dim)
        self.ffn = feed_forward(dim, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, place: Tensor, sine: Tensor, memory: Tensor, mask: Tensor, position: Tensor
    ) -> Tensor:
        """State of the anchors after the layer.

        Args:
            x: ``(Q, N, D)`` their state.
            place: ``(Q, N, D)`` what a net makes of where they are.
            sine: ``(Q, N, D)`` where they are.
            memory: ``(Q, T, D)`` clips.
            mask: ``(Q, T)`` valid ones.
            position: ``(Q, T, D)`` where they are.
        """
        placed = x + place
        everyone = mask.new_ones(x.shape[:2])
        x = self.norms[0](x + self.dropout(self.own(placed, placed, x, everyone)))
        query, key, where = self.query(x), self.key(memory), self.clip_place(position)
        if self.start is not None:
            query, key = query + self.start(place), key + where
        query = torch.cat([self._split(query), self._split(self.anchor_place(sine))], -1)
        key = torch.cat([self._split(key), self._split(where)], -1)
        value = self._split(self.value(memory))
        rate = self.dropout.p if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, mask[:, None, None], rate)
        x = self.norms[1](x + self.dropout(self.out(seen.transpose(1, 2).flatten(2))))
        return self.norms[2](x + self.dropout(self.ffn(x)))

    def _split(self, x: Tensor) -> Tensor:
        """``(Q, N, D)`` to ``(Q, H, N, D / H)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def refine(anchors: Tensor, change: Tensor) -> Tensor:
    """Move anchors in (0, 1) by a change of their logits."""
    return (anchors.clamp(1e-3, 1 - 1e-3).logit() + change).sigmoid()


@MODELS.register_module()
class QDDETR(MomentDETR):
    """Moment-DETR whose clips read the sentence before anything else.

    Clips alone, each of which has read the words, go through the encoder with a global token that
    tells how salient a clip must look in this video. Moments are anchors around which each decoder
    layer looks, and which it refines. Sentences of other videos are wrong: no clip may be salient
    for them.

    Args:
        language: see :class:`MomentDETR`.
        streams: see there.
        dim: width.
        num_heads: heads of every attention.
        num_decoder: decoder layers.
        num_moments: moments that are predicted for each query.
        dropout: within the transformer.
        num_reading: layers in which clips read words.
        contrast: config of the loss that sets clips inside a moment apart from those outside.
        **kwargs: see :class:`MomentDETR`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        dim: int = 256,
        num_heads: int = 8,
        num_decoder: int = 2,
        num_moments: int = 10,
        dropout: float = 0.1,
        num_reading: int = 2,
        contrast: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            language=language,
            streams=streams,
            dim=dim,
            num_heads=num_heads,
            num_decoder=num_decoder,
            num_moments=num_moments,
            dropout=dropout,
            **kwargs,
        )
        del self.moments, self.saliency
        self.reading = nn.ModuleList(
            ReadingLayer(dim, num_heads, 4 * dim, dropout) for _ in range(num_reading)
        )
        self.decoder = nn.ModuleList(
            AnchorDecoderLayer(dim, num_heads, 4 * dim, dropout, first=layer == 0)
            for layer in range(num_decoder)
        )
        spread(self.reading)
        spread(self.decoder)
        self.token = nn.Parameter(torch.randn(dim))
        self.token_place = nn.Parameter(torch.randn(dim))
        self.of_token = nn.Linear(dim, dim)
        self.of_clip = nn.Linear(dim, dim)
        center = (torch.arange(num_moments) + 0.5) / num_moments
        start = torch.stack([center, torch.full_like(center, 0.3)], -1)
        self.anchors = nn.Parameter(start.logit())  # (N, 2)
        self.anchor_place = net(dim, dim)
        self.scale = net(dim, dim) if num_decoder > 1 else None  # of places, after the first layer
        self.wide = net(dim, 1)  # the width an anchor asks for: places count as that over its own
        self.span = mlp(dim, 2)
        for parameter in self.span[-1].parameters():
            nn.init.zeros_(parameter)
        self.contrast = MODELS.build(contrast or dict(type='MultiPositiveInfoNCE', temperature=0.5))

    def encode(self, batch: OwnVideoBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The clips ``(Q, T, D)`` as the sentence makes them, their places, and saliency."""
        seen = batch.mask[batch.owner]
        clips = self.project(with_place(batch.clips, batch.mask))[batch.owner]
        place = sine_positions(seen, clips.shape[-1]).to(clips.dtype)
        for layer in self.reading:
            clips = layer(clips, place, batch.text.features, batch.text.mask)
        token, own = (
            part.to(clips.dtype).expand(len(clips), 1, -1)
            for part in (self.token, self.token_place)
        )
        x, position = torch.cat([token, clips], 1), torch.cat([own, place], 1)
        mask = F.pad(seen, (1, 0), value=True)
        for layer in self.encoder:
            x = layer(x, mask, position)
        whole, clips = self.of_token(x[:, :1]), self.of_clip(x[:, 1:])
        saliency = (whole * clips).sum(-1) / clips.shape[-1] ** 0.5
        return x[:, 1:], place, saliency

    def run(self, batch: OwnVideoBatch) -> DetrOutput:
        x, position, saliency = self.encode(batch)
        mask = batch.mask[batch.owner]
        anchors = self.anchors.float().sigmoid().expand(len(x), -1, -1)
        state = x.new_zeros(len(x), anchors.shape[1], x.shape[-1])
        states: list[Tensor] = []
        spans: list[Tensor] = []
        for layer in self.decoder:
            sine = sine_of_anchors(anchors, x.shape[-1] // 2).to(x.dtype)
            place = self.anchor_place(sine)
            if states and self.scale is not None:
                sine = sine * self.scale(state)
            narrow = self.wide(state).float().sigmoid() / anchors[..., 1:].clamp(min=0.01)
            state = layer(state, place, (sine * narrow).to(x.dtype), x, mask, position)
            states.append(self.norm(state))
            spans.append(refine(anchors, self.span(states[-1]).float()))
            anchors = spans[-1].detach()
        return DetrOutput(self.label(torch.stack(states, 1)), torch.stack(spans, 1), saliency)

    def loss_by_feat(
        self, out: DetrOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        losses = super().loss_by_feat(out, batch, spans, span_mask)
        seen = batch.mask[batch.owner]
        inside = touched_clips(spans, span_mask, seen)
        losses['loss_contrast'] = self.saliency_weight * self.contrast(out.saliency, inside, seen)
        losses['loss_negative'] = self.saliency_weight * self.negative_loss(batch)
        return losses

    def negative_loss(self, batch: OwnVideoBatch) -> Tensor:
        """No clip is salient for a sentence of another video: ``-log(1 - sigmoid(saliency))``."""
        half = len(batch.owner) // 2
        text = in_float32(batch.text)
        wrong = type(text)(*(field.roll(half, 0) for field in text))
        _, _, saliency = self.encode(batch._replace(text=wrong))
        other = batch.owner.roll(half) != batch.owner
        counted = batch.mask[batch.owner] & other[:, None]
        return (F.softplus(saliency) * counted).sum() / counted.sum().clamp(min=1)
