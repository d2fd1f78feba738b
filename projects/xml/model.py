"""XML (Lei, Yu, Berg and Bansal, "TVR", ECCV 2020) and ReLoCLNet (Zhang et al., SIGIR 2021)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import Dropout, masked_softmax
from demul_mm.models.localizers.own_video import (
    OwnVideoBatch,
    OwnVideoLocalizer,
    touched_clips,
    unit_clips,
)
from demul_mm.registry import MODELS
from projects.moment_detr.transformer import EncoderLayer, sine_positions


class CorpusClips(NamedTuple):
    """Clips of ``V`` videos without any query: all that a corpus keeps."""

    whole: Tensor  # (V, T, D) unit vectors that find the video
    border: Tensor  # (V, T, D) that find the moment
    mask: Tensor  # (V, T)


class BorderOutput(NamedTuple):
    """How like each query is to each video, and where its moment starts and ends in its own."""

    near: Tensor  # (Q, V) cosine
    start: Tensor  # (Q, T) logits
    end: Tensor  # (Q, T) logits
    alike: Tensor  # (Q, T) cosine with the clips of the own video


def conv_encoder(in_dim: int, dim: int, dropout: float) -> nn.Sequential:
    """Normalise, project, activate."""
    return nn.Sequential(
        nn.LayerNorm(in_dim), Dropout(dropout), nn.Linear(in_dim, dim), nn.ReLU(), nn.LayerNorm(dim)
    )


@MODELS.register_module()
class XML(OwnVideoLocalizer):
    """Videos and queries encoded apart; convolutions on their likeness find the borders.

    Args:
        language: config of :class:`WordProjection` or alike, of width ``dim``.
        streams: see :class:`OwnVideoLocalizer`.
        dim: width.
        num_heads: heads of the attention.
        dropout: rate on the input and within.
        kernel_size: width of the convolutions that detect starts and ends, odd.
        max_clips: longest moment.
        margin: by which the right video, and the right query, should win.
        border_weight: weight of the loss of borders.
        video_weight: weight of the likeness against borders, where videos compete.
        contrast: config of ReLoCLNet's contrast of videos with queries, beside the hinge; None for
            none.
        clip_contrast: config of ReLoCLNet's contrast of clips inside and outside the moment; None
            for none.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        dim: int = 256,
        num_heads: int = 4,
        dropout: float = 0.1,
        kernel_size: int = 5,
        max_clips: int = 64,
        margin: float = 0.1,
        border_weight: float = 0.1,
        video_weight: float = 20.0,
        contrast: dict | None = None,
        clip_contrast: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        self.project = conv_encoder(self.in_dim, dim, dropout)
        self.video = nn.ModuleList(EncoderLayer(dim, num_heads, 4 * dim, dropout) for _ in range(2))
        self.query = EncoderLayer(dim, num_heads, 4 * dim, dropout)
        self.modular = nn.Linear(dim, 1, bias=False)
        self.whole = nn.Linear(dim, dim)
        self.border = nn.Linear(dim, dim)
        self.borders = nn.Conv1d(1, 2, kernel_size, padding=kernel_size // 2, bias=False)
        self.max_clips = max_clips
        self.margin = margin
        self.border_weight = border_weight
        self.video_weight = video_weight
        self.contrast = MODELS.build(contrast) if contrast else None
        self.clip_contrast = MODELS.build(clip_contrast) if clip_contrast else None

    # -- encoders, for a corpus too ------------------------------------------------------------

    def encode_clips(self, clips: Tensor, mask: Tensor) -> CorpusClips:
        """Features ``(V, T, in_dim)`` and ``mask (V, T)``; never sees a query."""
        x = self.project(unit_clips(clips, mask))
        position = sine_positions(mask, x.shape[-1]).to(x.dtype)
        x = self.video[0](x, mask, position)
        whole, border = self.whole(x), self.border(self.video[1](x, mask, position))
        return CorpusClips(F.normalize(whole.float(), dim=-1), border.float(), mask)

    def encode_words(self, text: Any) -> Tensor:
        """Of each sentence the one vector ``(Q, D)`` that all is compared with."""
        words, mask = text.features, text.mask
        x = self.query(words, mask, sine_positions(mask, words.shape[-1]).to(words.dtype))
        weight = masked_softmax(self.modular(x).squeeze(-1).float(), mask)
        return (weight[..., None] * x.float()).sum(1)

    def likeness(self, query: Tensor, videos: CorpusClips) -> Tensor:
        """Cosine of queries ``(Q, D)`` with the likest clip of each video: ``(Q, V)``."""
        with torch.autocast(query.device.type, enabled=False):
            alike = torch.einsum('qd,vtd->qvt', F.normalize(query, dim=-1), videos.whole)
            return alike.masked_fill(~videos.mask, -1.0).amax(-1)

    def detect(self, query: Tensor, border: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of start and end of pairs: ``query (R, D)``, ``border (R, T, D)``, ``(R, T)``."""
        with torch.autocast(query.device.type, enabled=False):
            alike = torch.einsum('rd,rtd->rt', query, border) / query.shape[-1] ** 0.5
            start, end = self.borders((alike * mask)[:, None]).unbind(1)
        return start.masked_fill(~mask, -1e4), end.masked_fill(~mask, -1e4)

    def run(self, batch: OwnVideoBatch) -> BorderOutput:
        videos, query = self.encode_clips(batch.clips, batch.mask), self.encode_words(batch.text)
        return self.compare(query, videos, batch)

    def compare(self, query: Tensor, videos: CorpusClips, batch: OwnVideoBatch) -> BorderOutput:
        """Queries ``(Q, D)`` with all videos of a batch, and with the clips of their own."""
        own, mask = batch.owner, batch.mask[batch.owner]
        start, end = self.detect(query, videos.border[own], mask)
        alike = (F.normalize(query, dim=-1)[:, None] * videos.whole[own]).sum(-1)
        return BorderOutput(self.likeness(query, videos), start, end, alike)

    # -- training --------------------------------------------------------------------------------

    def loss_by_feat(
        self, out: BorderOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        owner, seen = batch.owner, batch.mask[batch.owner]
        own = owner[:, None] == torch.arange(out.near.shape[1], device=owner.device)  # (Q, V)
        losses = dict(
            loss_border=self.border_weight * self.border_loss(out, seen, spans, span_mask),
            loss_hinge=self.hinge_loss(out.near, owner, own),
        )
        if self.contrast is not None:
            losses['loss_video'] = self.contrast(out.near, own, torch.ones_like(own))
            # From the video's side: its queries against those of the others.
            losses['loss_query'] = self.contrast(out.near.T, own.T, torch.ones_like(own.T))
        if self.clip_contrast is not None:
            inside = touched_clips(spans, span_mask, seen)
            losses['loss_clip'] = self.clip_contrast(out.alike, inside, seen)
        return losses

    @staticmethod
    def border_loss(out: BorderOutput, seen: Tensor, spans: Tensor, span_mask: Tensor) -> Tensor:
        """Cross-entropy of the clips in which the first moment starts and ends."""
        if not spans.shape[1]:
            return (out.start.sum() + out.end.sum()) * 0.0
        number = seen.sum(1)
        first = (spans[:, 0, 0] * number).floor().long()
        last = (spans[:, 0, 1] * number).ceil().long() - 1
        known = span_mask[:, 0]
        total = sum(
            F.cross_entropy(logits, torch.minimum(place.clamp(min=0), number - 1), reduction='none')
            for logits, place in ((out.start, first), (out.end, last))
        )
        return (total * known).sum() / known.sum().clamp(min=1)

    def hinge_loss(self, near: Tensor, owner: Tensor, own: Tensor) -> Tensor:
        """A random other video, and a random query of another one, must be less alike."""
        right = near.gather(1, owner[:, None]).squeeze(1)
        video = torch.rand_like(near).masked_fill(own, -1.0).argmax(1)
        other = owner[:, None] != owner
        query = torch.rand(other.shape, device=other.device).masked_fill(~other, -1.0).argmax(1)
        wrong_video = near.gather(1, video[:, None]).squeeze(1)
        wrong_query = near[query, owner]
        hinge = (self.margin + wrong_video - right).clamp(min=0)
        hinge = hinge + (self.margin + wrong_query - right).clamp(min=0)
        return (hinge * other.any(1)).mean()

    # -- testing -----------------------------------------------------------------------------------

    def moments(self, start: Tensor, end: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All moments of ``R`` pairs, by the product of the odds of start and end.

        Args:
            start: ``(R, T)`` logits.
            end: ``(R, T)`` logits.
            mask: ``(R, T)``.

        Returns:
            spans ``(R, K, 2)`` in [0, 1], log-probabilities ``(R, K)``, mask ``(R, K)``; the 100
            best.
        """
        return self.best_moments(start.log_softmax(-1), end.log_softmax(-1), mask)

    def best_moments(
        self, start: Tensor, end: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same from log-probabilities."""
        length = mask.shape[1]
        log_prob = start[..., None] + end[:, None]  # (R, T, T)
        clip = torch.arange(length, device=mask.device)
        long = clip - clip[:, None] + 1
        allowed = (long >= 1) & (long <= self.max_clips) & mask[..., None] & mask[:, None]
        scores = log_prob.masked_fill(~allowed, -torch.inf).flatten(1)
        best, index = scores.topk(min(100, scores.shape[1]), dim=1)
        first, last = index // length, index % length
        spans = torch.stack([first, last + 1], -1) / mask.sum(1).clamp(min=1)[:, None, None]
        return spans, best, best.isfinite()

    def search_moments(
        self, text: Any, query: Tensor, videos: CorpusClips, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All moments of the ``N`` videos that each query is looked for in, as :meth:`moments`.

        Args:
            text: the words of ``Q`` queries, as the language part tells them.
            query: ``(Q, D)`` of :meth:`encode_words`.
            videos: all of the corpus.
            index: ``(Q, N)`` videos; pairs are in its order.
        """
        pairs = index.flatten()
        mask = videos.mask[pairs]
        each = query.repeat_interleave(index.shape[1], 0)
        return self.moments(*self.detect(each, videos.border[pairs], mask), mask)

    def predict_by_feat(
        self, out: BorderOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        spans, scores, mask = self.moments(out.start, out.end, batch.mask[batch.owner])
        return spans, scores.exp(), mask
