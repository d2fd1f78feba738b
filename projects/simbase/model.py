"""SimBase ("SimBase: A Simple Baseline for Temporal Video Grounding", 2024)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import Dropout
from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer, unit_clips
from demul_mm.registry import MODELS
from demul_mm.structures import pairwise_iou
from projects.tan2d.moment_map import scaled_iou, share_of_parts


def pyramid_anchors(num_clips: int, num_scales: int) -> Tensor:
    """Anchors of ``num_clips / 2, ..., 2, 1`` cells: ``(A, 2)`` centre and width in [0, 1].

    The widths of a cell's anchors divide the octave around its own width evenly, so that all levels
    together know every width: 315 anchors for 64 clips and 5 scales.
    """
    octave = 2 ** ((torch.arange(num_scales) - (num_scales - 1) / 2) / num_scales)
    anchors = []
    cells = num_clips // 2
    while cells:
        center = (torch.arange(cells) + 0.5) / cells
        anchors.append(torch.cartesian_prod(center, octave / cells))
        cells //= 2
    return torch.cat(anchors)


class AnchorOutput(NamedTuple):
    """What is said of the ``A`` anchors of each query's video."""

    logits: Tensor  # (Q, A)
    change: Tensor  # (Q, A, 2) of centre, in widths, and of the logarithm of the width


def conv_block(dim: int, stride: int, dropout: float) -> nn.Sequential:
    """A convolution over three clips, normalised."""
    return nn.Sequential(
        nn.Conv1d(dim, dim, 3, stride, padding=1), nn.GroupNorm(1, dim), nn.ReLU(), Dropout(dropout)
    )


@MODELS.register_module()
class SimBase(OwnVideoLocalizer):
    """One-dimensional convolutions over a pyramid, and a product with the sentence.

    Args:
        language: config of a :class:`LanguageEncoder`; the sentence is read.
        streams: see :class:`OwnVideoLocalizer`.
        text_dim: width of the language.
        dim: width of the pyramid.
        num_clips: equal parts that a video is divided into; a power of 2.
        num_layers: convolutions before the pyramid.
        num_scales: anchors of each cell.
        dropout: after each convolution.
        low: IoU up to which an anchor is wrong, and from which its borders are learnt.
        high: IoU from which it is right.
        border: config of the loss of borders.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.
    """

    anchors: Tensor

    def __init__(
        self,
        language: dict,
        streams: dict,
        text_dim: int = 128,
        dim: int = 256,
        num_clips: int = 64,
        num_layers: int = 2,
        num_scales: int = 5,
        dropout: float = 0.3,
        low: float = 0.3,
        high: float = 0.7,
        border: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        if num_clips < 2 or num_clips & (num_clips - 1):
            raise ValueError(f'num_clips is {num_clips}; it must be a power of 2, at least 2')
        self.num_clips = num_clips
        self.project = nn.Sequential(Dropout(dropout), nn.Linear(self.in_dim, dim))
        self.convolutions = nn.Sequential(*(conv_block(dim, 1, dropout) for _ in range(num_layers)))
        self.halving = nn.ModuleList(
            conv_block(dim, 2, dropout) for _ in range(num_clips.bit_length() - 1)
        )
        self.sentence = nn.Linear(text_dim, dim)
        self.head = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), Dropout(dropout), nn.Linear(dim, 3 * num_scales)
        )
        anchors = pyramid_anchors(num_clips, num_scales)
        self.register_buffer('anchors', anchors, persistent=False)
        self.low = low
        self.high = high
        self.border_loss = MODELS.build(border or dict(type='SpanDIoULoss'))

    def run(self, batch: OwnVideoBatch) -> AnchorOutput:
        clips = self.project(unit_clips(batch.clips, batch.mask))
        parts = share_of_parts(batch.mask, self.num_clips).to(clips.dtype) @ clips
        x = self.convolutions(parts.transpose(1, 2))  # (V, D, N)
        levels = []
        for halve in self.halving:
            x = halve(x)
            levels.append(x)
        cells = torch.cat(levels, 2).transpose(1, 2)  # (V, N - 1, D)
        fused = cells[batch.owner] * self.sentence(batch.text.sentence)[:, None]
        found = self.head(F.normalize(fused, dim=-1) * fused.shape[-1] ** 0.5)
        found = found.unflatten(-1, (-1, 3)).flatten(1, 2)  # (Q, A, 3)
        return AnchorOutput(found[..., 0], found[..., 1:])

    def borders(self, change: Tensor) -> Tensor:
        """Start and end ``(Q, A, 2)`` of the anchors after a change."""
        center, width = self.anchors.unbind(-1)
        center = center + change[..., 0] * width
        half = width / 2 * change[..., 1].clamp(-3, 3).exp()
        return torch.stack([center - half, center + half], -1)

    def loss_by_feat(
        self, out: AnchorOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        where = self.borders(torch.zeros_like(out.change))
        iou = F.pad(pairwise_iou(where, spans) * span_mask[:, None], (0, 1))
        best, moment = iou.max(-1)  # (Q, A)
        target = scaled_iou(best, self.low, self.high)
        own = F.pad(spans, (0, 0, 0, 1)).gather(1, moment[..., None].expand(-1, -1, 2))
        count = target.sum().clamp(min=1)
        return dict(
            loss_iou=F.binary_cross_entropy_with_logits(out.logits, target),
            loss_border=self.border_loss(self.borders(out.change), own, target, count),
        )

    def predict_by_feat(
        self, out: AnchorOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = out.logits.sigmoid()
        return self.borders(out.change), scores, torch.ones_like(scores, dtype=torch.bool)
