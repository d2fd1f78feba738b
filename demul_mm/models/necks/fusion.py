"""The progressive fusion neck: sentence, phrases, words, on fewer and fewer candidates."""

import torch
from torch import Tensor, nn

from demul_mm.models.necks.fusion_stage import FusionStage
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS
from demul_mm.structures import FusedPairs, QueryEncoding, VideoEncoding

GRAINS = ('sentence', 'phrases', 'words')


@MODELS.register_module()
class ProgressiveFusion(nn.Module):
    """Fuse (query, video) pairs from coarse to fine: sentence, phrases, words.

    The first stage visits every cell and is cheap; only the cells it rates best go on to the
    following stages, so their cost does not grow with the video. Each stage reads the text units of
    its grain together with the coarser units as the previous stage left them after reading the
    video. Each has its own semantic logit, is supervised, and can end the pass.

    Args:
        dim: width ``D``.
        stages: the grains in order, out of 'sentence', 'phrases', 'words'.
        survivors: cells of a pair that go on after the first stage; None for all.
        cells_talk: whether cells talk to their neighbours in stages that visit all of them. It
            costs as much again, and pays only where no stage among survivors follows.
        num_heads: heads of the attention among survivors.
        num_streams: streams of the video; with more than one, a gate asks the query how to mix.
        early_exit: at test, pairs whose best probability after a stage reaches this number skip the
            following stages; None for never.
    """

    def __init__(
        self,
        dim: int = 128,
        stages: tuple[str, ...] = GRAINS,
        survivors: int | None = 64,
        cells_talk: bool = False,
        num_heads: int = 4,
        num_streams: int = 1,
        early_exit: float | None = None,
    ) -> None:
        super().__init__()
        unknown = set(stages) - set(GRAINS)
        if unknown or not stages:
            raise ValueError(f'stages are {stages}; allowed: one or more of {", ".join(GRAINS)}')
        self.grains = tuple(stages)
        self.survivors = survivors
        self.early_exit = early_exit
        visiting_all = 'neighbours' if cells_talk else None
        self.stages = nn.ModuleList(
            FusionStage(
                dim,
                num_heads,
                talk='survivors' if i and survivors is not None else visiting_all,
                reads_video=i + 1 < len(stages),
            )
            for i in range(len(stages))
        )
        self.stream_key = nn.Parameter(torch.zeros(num_streams, dim)) if num_streams > 1 else None

    @property
    def reads_sentence(self) -> bool:
        """Whether the sentence's own vector is read: by a stage, or to mix the streams."""
        return 'sentence' in self.grains or self.stream_key is not None

    def forward(
        self,
        videos: VideoEncoding,
        queries: QueryEncoding,
        points: PyramidPoints,
        base: Tensor,
        keep: Tensor | None = None,
    ) -> FusedPairs:
        """Fuse row ``r`` of ``videos`` with row ``r`` of ``queries``.

        Args:
            videos: ``R`` rows.
            queries: ``R`` rows.
            points: geometry of the ``M`` cells.
            base: ``(R, M)`` semantic logit of the dual encoder, which the stages add to.
            keep: ``(R, M)`` cells that survive whatever they score (in training, the positives).
        """
        x = self.mix_streams(videos, queries.sentence)  # (R, M, D)
        units, unit_mask = self._units(queries, self.grains[0])
        first_stage = self.stages[0]
        assert isinstance(first_stage, FusionStage)
        x, logit = first_stage(x, videos.mask, units, unit_mask, points, None)
        dense = base + logit
        clips = x[:, : int(points.level_sizes[0])]
        index = self._survive(dense, videos.mask, keep)  # (R, K)
        candidates = x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
        mask = videos.mask.gather(1, index)
        first = dense.gather(1, index)
        text = first_stage.read(units, x, videos.mask) if len(self.stages) > 1 else units
        place = points.place(videos.num_clips).gather(1, index[..., None].expand(-1, -1, 3))
        logits, candidates = self._refine(queries, points, candidates, mask, first, text, place)
        return FusedPairs(candidates, mask, index, clips, dense, logits)

    def skip(
        self, videos: VideoEncoding, queries: QueryEncoding, points: PyramidPoints, base: Tensor
    ) -> FusedPairs:
        """Pairs that are not fused in this part of the training.

        All that fusion reads gets a gradient of zero, which DDP waits for.
        """
        unread = queries.sentence.sum() + sum(weights.sum() for weights in self.parameters())
        return dual_encoder_pairs(videos, points, base + 0.0 * unread)

    def _refine(
        self,
        queries: QueryEncoding,
        points: PyramidPoints,
        x: Tensor,
        mask: Tensor,
        first: Tensor,
        text: Tensor,
        place: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The stages after the first, on candidates ``x (R, K, D)``.

        Returns the logits after each stage ``(R, stages, K)`` and the candidates.
        """
        logits = [first]
        active = torch.arange(len(x), device=x.device)
        for i, (grain, stage) in enumerate(zip(self.grains, self.stages)):
            if i == 0:
                continue
            assert isinstance(stage, FusionStage)
            active, text = self._unsure(active, text, logits[-1], mask)
            now: Tensor | slice = active if len(active) < len(x) else slice(None)
            units, unit_mask = self._units(queries, grain)
            units = torch.cat([text, units[now]], 1)
            carried = unit_mask.new_ones(text.shape[:2])
            unit_mask = torch.cat([carried, unit_mask[now]], 1)
            fused, logit = stage(x[now], mask[now], units, unit_mask, points, place[now])
            x = _put(x, now, fused)
            logits.append(_put(logits[-1], now, first[now] + logit))
            if i + 1 < len(self.stages):
                text = stage.read(units, fused, mask[now])
        return torch.stack(logits, 1), x

    def _unsure(
        self, active: Tensor, text: Tensor, logit: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The pairs that go on, with their text; all of them unless ``early_exit`` is set."""
        if self.early_exit is None or self.training:
            return active, text
        best = logit.masked_fill(~mask, -1e4).amax(1).sigmoid()
        unsure = best[active] < self.early_exit
        return active[unsure], text[unsure]

    def _survive(self, logit: Tensor, mask: Tensor, keep: Tensor | None) -> Tensor:
        """Indices ``(R, K)`` of the best cells, in the order of the cells."""
        number = logit.shape[1]
        if self.survivors is None or self.survivors >= number:
            return torch.arange(number, device=logit.device).expand(len(logit), -1)
        rank = logit.detach().float().masked_fill(~mask, -1e4)
        if keep is not None:
            rank = rank + 1e3 * keep
        return rank.topk(self.survivors, dim=1).indices.sort(1).values

    def mix_streams(self, videos: VideoEncoding, sentence: Tensor) -> Tensor:
        """``(R, N, M, D)`` to ``(R, M, D)``: how much each stream counts for this query."""
        if self.stream_key is None:
            return videos.points[:, 0]
        logits = sentence @ self.stream_key.to(sentence.dtype).T  # (R, N)
        weight = logits.masked_fill(~videos.stream_mask, -1e4).softmax(-1)
        return torch.einsum('rn,rnmd->rmd', weight.to(videos.points.dtype), videos.points)

    @staticmethod
    def _units(queries: QueryEncoding, grain: str) -> tuple[Tensor, Tensor]:
        if grain == 'words':
            return queries.words, queries.word_mask
        units = queries.phrases if grain == 'phrases' else queries.sentence[:, None]
        return units, units.new_ones(units.shape[:2], dtype=torch.bool)


def _put(whole: Tensor, rows: Tensor | slice, part: Tensor) -> Tensor:
    """``whole`` with its ``rows`` replaced, without writing in place."""
    if isinstance(rows, slice):
        return part
    return whole.to(part.dtype).index_copy(0, rows, part)


def mean_of_streams(features: Tensor, stream_mask: Tensor) -> Tensor:
    """``(V, N, M, D)`` to ``(V, M, D)``, over the streams that a video has; ``(V, N)`` says it."""
    weight = stream_mask[:, :, None, None].to(features.dtype)
    return (features * weight).sum(1) / weight.sum(1).clamp(min=1)


def dual_encoder_pairs(videos: VideoEncoding, points: PyramidPoints, base: Tensor) -> FusedPairs:
    """What the head sees when there is no fusion: every cell as the video alone describes it.

    Args:
        videos: ``R`` rows.
        points: geometry of the ``M`` cells.
        base: ``(R, M)`` semantic logit of the dual encoder.
    """
    x = mean_of_streams(videos.points, videos.stream_mask)
    index = torch.arange(base.shape[1], device=base.device).expand(len(base), -1)
    clips = x[:, : int(points.level_sizes[0])]
    return FusedPairs(x, videos.mask, index, clips, base, base[:, None])
