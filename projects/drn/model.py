"""DRN (Zeng et al., CVPR 2020) as MMAction2 has it, with this project's language and metric."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer, unit_clips
from demul_mm.registry import MODELS
from projects.tan2d.moment_map import share_of_parts

# What MMAction2's DRN has in its code: clips of a video, and values of a query's feature.
CLIPS, QUERY_DIM = 32, 1024
STRIDES = (1, 2, 4)


class Cells(NamedTuple):
    """What DRN says of the cells of its three levels, side by side."""

    logits: Tensor  # (Q, 1, N)
    distance: Tensor  # (Q, 2, N) from the cell's centre to start and end, in clips
    quality: Tensor  # (Q, 1, N) logits of the IoU


class LevelQueries(nn.Module):
    """In the place of DRN's word table and LSTM: for each level, what it asks of the words.

    Args:
        asked: DRN's own ``QueryEncoder``, whose attention is kept.
        dim: width of the language.
    """

    def __init__(self, asked: Any, dim: int) -> None:
        super().__init__()
        self.words = nn.Linear(dim, QUERY_DIM)
        self.sentence = nn.Linear(dim, 2 * QUERY_DIM)
        del asked.embedding, asked.biLSTM
        self.attention: Any = asked

    def forward(self, words: Tensor, mask: Tensor, sentence: Tensor) -> list[Tensor]:
        """Words ``(Q, L, D)``, ``mask (Q, L)``, sentences ``(Q, D)``: ``(Q, 1024)`` a level."""
        encoded, whole = self.words(words), self.sentence(sentence)
        lengths = mask.sum(1)
        return [
            self.attention.extract_textual(whole, encoded, lengths, level)
            for level in range(len(STRIDES))
        ]


@MODELS.register_module()
class GroundedDRN(OwnVideoLocalizer):
    """MMAction2's DRN behind this project's language encoder, data and metric.

    All of it is trained at once, as in the last of its three stages.

    Args:
        language: config of :class:`LanguageEncoder`, without ``word_drop``: DRN knows lengths, not
            which words are missing.
        streams: see :class:`OwnVideoLocalizer`.
        text_dim: width of the language.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.

    Raises:
        ImportError: MMAction2 is installed without its DRN; says how to get it.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        text_dim: int = 128,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        if language.get('word_drop'):
            raise ValueError('word_drop leaves gaps among the words, which DRN cannot read: use 0')
        self.drn = MODELS.build(
            dict(type='mmaction.DRN', vocab_size=1, feature_dim=self.in_dim, fpn_stride=STRIDES)
        )
        self.drn.query_encoder = LevelQueries(self.drn.query_encoder, text_dim)
        edge = torch.arange(CLIPS + 1) / CLIPS
        place = torch.stack([edge[:-1], edge[1:], edge[1:] - edge[:-1]], -1)
        centers = [torch.arange(0, CLIPS, stride) + stride / 2 for stride in STRIDES]
        self.place: Tensor
        self.centers: Tensor
        self.register_buffer('place', place, persistent=False)  # (32, 3) start, end, length
        self.register_buffer('centers', torch.cat(centers), persistent=False)  # (N,) in clips
        self.sizes = [len(level) for level in centers]

    def run(self, batch: OwnVideoBatch) -> Cells:
        drn, text = self.drn, batch.text
        share = share_of_parts(batch.mask, CLIPS)
        clips = share.to(batch.clips.dtype) @ unit_clips(batch.clips, batch.mask)  # (V, 32, d)
        x = drn.prop_fc(clips).transpose(1, 2)[batch.owner]  # (Q, d, 32)
        asked = drn.query_encoder(text.words, text.word_mask, text.sentence)
        asked = [project(query) for project, query in zip(drn.qInput, asked)]
        place = drn.position_transform(self.place).T.expand(len(x), -1, -1)  # read at level 0 alone
        levels = drn.fpn(drn.backbone_net(x, asked, [place] * len(STRIDES)))
        cells = [torch.cat(found, -1) for found in drn.fcos.head(levels)]
        return Cells(*cells)

    def loss_by_feat(
        self, out: Cells, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        """DRN's own losses; of several true moments the first counts."""
        truth = spans.new_zeros(len(out.logits), 2)
        if spans.shape[1]:
            truth = spans[:, 0] * span_mask[:, :1]
        # Its losses drop the axis of the queries where there is one: it is asked twice then.
        rows = torch.arange(max(2, len(truth)), device=truth.device) % len(truth)
        cells = [list(field[rows].split(self.sizes, -1)) for field in out]
        centers = list(self.centers.split(self.sizes))
        label, place, quality = self.drn.fcos.loss_evaluator(
            centers, cells[0], cells[1], truth[rows], cells[2], False
        )
        # Only predictions above an IoU of .9 teach the quality; in a batch without one it is idle.
        quality = quality.sum() + 0.0 * out.quality.sum()
        return dict(loss_label=label, loss_place=place, loss_quality=quality)

    def predict_by_feat(self, out: Cells, batch: OwnVideoBatch) -> tuple[Tensor, Tensor, Tensor]:
        low = self.centers - out.distance[:, 0]
        high = self.centers + out.distance[:, 1]
        spans = (torch.stack([low, high], -1) / CLIPS).clamp(0, 1)  # (Q, N, 2)
        scores = (out.logits.sigmoid() * out.quality.sigmoid()).sqrt().squeeze(1)
        return spans, scores, torch.ones_like(scores, dtype=torch.bool)
