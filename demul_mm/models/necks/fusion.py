"""The progressive fusion neck: sentence, phrases, words, each adding only what its gate lets in."""

import torch
from torch import Tensor, nn

from demul_mm.models.layers import NeighbourMix, masked_softmax
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS
from demul_mm.structures import FusedPairs, QueryEncoding, VideoEncoding


class FusionStage(nn.Module):
    """The video reads the text through a gate, neighbouring cells talk, the text reads the video.

    ``V <- V + tanh(a) * sigmoid(W [V; c]) * c`` with ``a = 0`` at the start, so that an untrained
    stage leaves the video as it is. ``c`` is the text that a point attends to, times the point; a
    point may also attend to nothing.

    Args:
        dim: width ``D``.
        dropout: of the residual branches.
        reads_video: whether the text is updated for the next stage.
    """

    def __init__(self, dim: int, dropout: float, reads_video: bool) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.context = nn.Linear(dim, dim)
        self.gate = nn.Linear(2 * dim, dim)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.mix_norm = nn.LayerNorm(dim)
        self.mix = NeighbourMix(dim)
        self.mix_in = nn.Linear(dim, dim)
        self.mix_out = nn.Linear(dim, dim)
        nn.init.zeros_(self.mix_out.weight)
        nn.init.zeros_(self.mix_out.bias)
        self.dropout = nn.Dropout(dropout)
        self.logit = nn.Linear(dim, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)
        self.scale = dim**-0.5
        if reads_video:
            self.read_key_value = nn.Linear(dim, 2 * dim)
            self.read_query = nn.Linear(dim, dim)
            self.beta = nn.Parameter(torch.zeros(1))

    def forward(
        self, video: Tensor, mask: Tensor, text: Tensor, text_mask: Tensor, points: PyramidPoints
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One stage.

        Args:
            video: ``(R, M, D)``, zeros where ``mask (R, M)`` is False.
            mask: ``(R, M)``.
            text: ``(R, U, D)`` units of text.
            text_mask: ``(R, U)``.
            points: geometry of the ``M`` cells.

        Returns:
            video ``(R, M, D)``, the stage's semantic logit ``(R, M)``, and which unit each point
            attended to ``(R, M, U)``.
        """
        key, value = self.key_value(text).chunk(2, -1)
        logits = self.query(video) @ key.transpose(1, 2) * self.scale  # (R, M, U)
        attention = _attend_or_not(logits, text_mask[:, None])
        context = self.context(video * (attention @ value))  # (R, M, D)
        gate = self.gate(torch.cat([video, context], -1)).sigmoid()
        video = video + self.alpha.tanh() * self.dropout(gate * context)
        keep = mask[..., None].to(video.dtype)
        mixed = self.mix(self.mix_norm(video) * keep, points)
        mixed = self.mix_out(nn.functional.gelu(self.mix_in(mixed)))
        video = (video + self.dropout(mixed)) * keep
        return video, self.logit(video).squeeze(-1), attention

    def read(self, text: Tensor, video: Tensor, mask: Tensor) -> Tensor:
        """Text ``(R, U, D)`` updated by what it attends to in the video."""
        key, value = self.read_key_value(video).chunk(2, -1)
        logits = self.read_query(text) @ key.transpose(1, 2) * self.scale  # (R, U, M)
        return text + self.beta.tanh() * (masked_softmax(logits, mask[:, None]) @ value)


@MODELS.register_module()
class ProgressiveFusion(nn.Module):
    """Fuse (query, video) pairs from coarse to fine: sentence, phrases, words.

    Each stage reads the text units of its grain together with the coarser units as the previous
    stage left them after reading the video. Each has its own semantic logit, is supervised, and can
    end the pass.

    Args:
        dim: width ``D``.
        stages: the grains in order, out of 'sentence', 'phrases', 'words'.
        dropout: of the residual branches.
        num_streams: streams of the video; with more than one, a gate asks the query how to mix.
        early_exit: at test, pairs whose best probability after a stage reaches this number skip the
            following stages; None for never.
    """

    def __init__(
        self,
        dim: int = 128,
        stages: tuple[str, ...] = ('sentence', 'phrases', 'words'),
        dropout: float = 0.1,
        num_streams: int = 1,
        early_exit: float | None = None,
    ) -> None:
        super().__init__()
        unknown = set(stages) - {'sentence', 'phrases', 'words'}
        if unknown:
            raise ValueError(f'unknown stages {sorted(unknown)}; allowed: sentence, phrases, words')
        self.grains = tuple(stages)
        self.early_exit = early_exit
        self.stages = nn.ModuleList(
            FusionStage(dim, dropout, reads_video=i + 1 < len(stages)) for i in range(len(stages))
        )
        self.stream_key = nn.Parameter(torch.zeros(num_streams, dim)) if num_streams > 1 else None

    def forward(
        self, videos: VideoEncoding, queries: QueryEncoding, points: PyramidPoints, base: Tensor
    ) -> FusedPairs:
        """Fuse row ``r`` of ``videos`` with row ``r`` of ``queries``.

        Args:
            videos: ``R`` rows.
            queries: ``R`` rows.
            points: geometry of the ``M`` cells.
            base: ``(R, M)`` semantic logit of the dual encoder, which the stages add to.
        """
        video = self.mix_streams(videos, queries.sentence)  # (R, M, D)
        logits: list[Tensor] = []
        alignment = video.new_zeros(*video.shape[:2], queries.phrases.shape[1])
        active = torch.arange(len(video), device=video.device)
        carried: Tensor | None = None
        for i, (grain, stage) in enumerate(zip(self.grains, self.stages)):
            now = active if len(active) < len(video) else slice(None)
            mask = videos.mask[now]
            units, unit_mask = self._units(queries, grain)
            units, unit_mask = units[now], unit_mask[now]
            if carried is not None:
                units = torch.cat([carried, units], 1)
                unit_mask = torch.cat([unit_mask.new_ones(carried.shape[:2]), unit_mask], 1)
            fused, logit, attention = stage(video[now], mask, units, unit_mask, points)
            if grain == 'phrases':
                alignment = _put(alignment, now, attention[..., -queries.phrases.shape[1] :])
            video = _put(video, now, fused)
            previous = logits[-1] if logits else base
            logits.append(_put(previous, now, base[now] + logit))
            if i + 1 == len(self.stages):
                break
            carried = stage.read(units, fused, mask)
            if self.early_exit is not None and not self.training:
                best = logits[-1][now].masked_fill(~mask, -1e4).amax(1).sigmoid()
                unsure = best < self.early_exit
                active, carried = active[unsure], carried[unsure]
                if not len(active):
                    break
        stage_logits = torch.stack(logits, 1) if logits else video.new_zeros(len(video), 0, 1)
        return FusedPairs(video, videos.mask, stage_logits, alignment)

    def mix_streams(self, videos: VideoEncoding, sentence: Tensor) -> Tensor:
        """``(R, N, M, D)`` to ``(R, M, D)``: how much each stream counts for this query."""
        if self.stream_key is None:
            return videos.points[:, 0]
        logits = sentence @ self.stream_key.T  # (R, N)
        weight = masked_softmax(logits, videos.stream_mask)
        return torch.einsum('rn,rnmd->rmd', weight, videos.points)

    @staticmethod
    def _units(queries: QueryEncoding, grain: str) -> tuple[Tensor, Tensor]:
        if grain == 'words':
            return queries.words, queries.word_mask
        units = queries.phrases if grain == 'phrases' else queries.sentence[:, None]
        return units, units.new_ones(units.shape[:2], dtype=torch.bool)


def _attend_or_not(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis with one more, empty choice of logit 0 that is then dropped."""
    logits = nn.functional.pad(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), (0, 1))
    return logits.softmax(-1)[..., :-1]


def _put(whole: Tensor, rows: Tensor | slice, part: Tensor) -> Tensor:
    """``whole`` with its ``rows`` replaced, without writing in place."""
    if isinstance(rows, slice):
        return part
    return whole.to(part.dtype).index_copy(0, rows, part)
