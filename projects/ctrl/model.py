"""CTRL (Gao, Sun, Yang and Nevatia, "TALL", ICCV 2017)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.device import on_host, to_device
from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer
from demul_mm.registry import MODELS
from demul_mm.structures import pairwise_iou
from projects.ctrl.windows import (
    decode_offsets,
    encode_offsets,
    pad_windows,
    sliding_windows,
    with_context,
)


class PairScorer(nn.Module):
    """Score and offsets of a window and a sentence.

    Args:
        visual_dim: size of a window with its context.
        text_dim: size of a sentence.
        dim: width that both are brought to, as unit vectors.
        hidden: width between product, sum and both, and the three values.
    """

    def __init__(self, visual_dim: int, text_dim: int, dim: int = 1024, hidden: int = 1000) -> None:
        super().__init__()
        self.visual = nn.Linear(visual_dim, dim)
        self.text = nn.Linear(text_dim, dim)
        self.score = nn.Sequential(nn.Linear(4 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def embed(self, windows: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """Both as unit vectors of width ``dim``."""
        visual, text = self.visual(windows), self.text(sentences)
        return F.normalize(visual.float(), dim=-1), F.normalize(text.float(), dim=-1)

    def forward(self, windows: Tensor, sentences: Tensor) -> Tensor:
        """``(A, B or 1, dim)`` and ``(A or 1, B, dim)`` to ``(A, B, 3)``: score, both offsets."""
        windows, sentences = torch.broadcast_tensors(windows, sentences)
        both = [windows * sentences, windows + sentences, windows, sentences]
        return self.score(torch.cat(both, -1))


class WindowOutput(NamedTuple):
    """The ``P`` windows of each video, and the sentences."""

    windows: Tensor  # (V, P, H) unit vectors
    sentences: Tensor  # (Q, H) unit vectors
    seconds: Tensor  # (V, P, 2)
    mask: Tensor  # (V, P)


@MODELS.register_module()
class CTRL(OwnVideoLocalizer):
    """Sliding windows, each scored with a sentence and moved by two offsets.

    In training a query takes one window that overlaps its moment, and all windows of the batch meet
    all sentences. Pairs of other queries of the same video are left out: they may be right.

    Args:
        language: config of a :class:`LanguageEncoder`; the sentence is read.
        streams: see :class:`OwnVideoLocalizer`.
        text_dim: width of the language.
        hidden_dim: width that windows and sentences are brought to.
        lengths: how long windows are, in seconds; 64 to 512 frames at 25 a second.
        overlap: share of a window that the next has too.
        min_iou: from which a window may stand for a moment.
        unit: what offsets are counted in, in seconds; 16 frames.
        offset_weight: weight of the loss of offsets.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        text_dim: int = 128,
        hidden_dim: int = 1024,
        lengths: Sequence[float] = (2.56, 5.12, 10.24, 20.48),
        overlap: float = 0.8,
        min_iou: float = 0.5,
        unit: float = 0.64,
        offset_weight: float = 0.01,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        self.scorer = PairScorer(3 * self.in_dim, text_dim, hidden_dim)
        self.lengths = tuple(lengths)
        self.overlap = overlap
        self.min_iou = min_iou
        self.unit = unit
        self.offset_weight = offset_weight

    def run(self, batch: OwnVideoBatch) -> WindowOutput:
        extents = on_host(batch.extents).tolist()
        videos = [sliding_windows(extent, self.lengths, self.overlap) for extent in extents]
        seconds, mask = (to_device(part, batch.mask.device) for part in pad_windows(videos))
        per_second = batch.mask.sum(1) / batch.extents
        clips = batch.clips * batch.mask[..., None]
        features = with_context(clips, seconds * per_second[:, None, None])
        windows, sentences = self.scorer.embed(features, batch.text.sentence)
        return WindowOutput(windows, sentences, seconds, mask)

    def loss_by_feat(
        self, out: WindowOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        owner, known = batch.owner, span_mask.any(1)  # (Q,)
        truth = spans * batch.extents[owner][:, None, None]
        seconds = out.seconds[owner]
        iou = F.pad(pairwise_iou(seconds, truth) * span_mask[:, None], (0, 1))  # (Q, P, G + 1)
        best, moment = iou.masked_fill(~out.mask[owner][..., None], -1.0).max(-1)
        chance = best + (best >= self.min_iou) * (1 + torch.rand_like(best))
        index = chance.argmax(1)  # (Q,) a random one that overlaps enough, or the best
        query = torch.arange(len(owner), device=owner.device)
        scores = self.scorer(out.windows[owner, index][:, None], out.sentences[None])  # (Q, Q, 3)
        own = F.pad(truth, (0, 0, 0, 1))[query, moment[query, index]]
        wanted = encode_offsets(seconds[query, index], own, self.unit)
        off = (scores[query, query, 1:] - wanted).abs().mean(-1)
        right = F.softplus(-scores[query, query, 0])
        other = owner[:, None] != owner
        wrong = (F.softplus(scores[..., 0]) * other).sum(1) / len(owner)
        number = known.sum().clamp(min=1)
        return dict(
            loss_alignment=((right + wrong) * known).sum() / number,
            loss_offset=self.offset_weight * (off * known).sum() / number,
        )

    def predict_by_feat(
        self, out: WindowOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        owner = batch.owner
        scores = self.scorer(out.windows[owner], out.sentences[:, None]).float()  # (Q, P, 3)
        spans = decode_offsets(out.seconds[owner], scores[..., 1:], self.unit)
        spans = spans / batch.extents[owner][:, None, None]
        ordered = torch.stack([spans.amin(-1), spans.amax(-1)], -1)
        return ordered, scores[..., 0].sigmoid(), out.mask[owner]
