"""Searching a corpus in steps: index, fusion of the survivors, one ranking."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from demul_mm.index import MomentHits, MomentIndex, SearchFilter
from demul_mm.models.heads.joint_score import TERMS
from demul_mm.models.localizers import DeMUL
from demul_mm.retrieval.encodings import EncodedVideo
from demul_mm.retrieval.fusion import localize_pairs
from demul_mm.structures import QueryEncoding, as_names
from demul_mm.structures.nms import MomentNMS

MODES = ('fast', 'full', 'exact')
# Queries whose videos are held in memory at once.
FUSED_QUERIES = 64

# Encodings of videos by id; ids that cannot be had are left out.
GetEncodings = Callable[[Sequence[str]], Mapping[str, EncodedVideo]]


@dataclass(frozen=True)
class CorpusMoment:
    """A moment somewhere in the corpus.

    Attributes:
        video_id: of its video.
        start: seconds.
        end: seconds.
        score: by which the moments of one origin are ranked: the calibrated (and, with soft
            suppression, decayed) joint score of a fused moment, else the inner product.
        probability: that its IoU with the truth is at least .5; None for what was not fused.
        terms: what each term of the joint score gave; empty for what was not fused.
    """

    video_id: str
    start: float
    end: float
    score: float
    probability: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusAnswer:
    """The answer to one query.

    Attributes:
        moments: best first.
        videos: all that the index let through, by their best moment.
        hits: what the index said.
        fused: the videos that were fused, in the order of the index.
    """

    moments: list[CorpusMoment]
    videos: list[str]
    hits: MomentHits
    fused: list[str]


@torch.no_grad()
def encode_queries(model: DeMUL, sentences: Sequence[str], transfer: float = 0.0) -> QueryEncoding:
    """Encode sentences; with ``transfer``, drawn towards what the semantic memory knows.

    Args:
        model: in eval mode.
        sentences: ``Q`` of them.
        transfer: weight of the moments of the train split whose captions resemble the query; 0
            for none.

    Raises:
        ValueError: an empty sentence, or ``transfer`` without a memory.
    """
    queries = model.encode_query(as_names(sentences, 'sentences'))
    if not transfer:
        return queries
    if model.memory is None:
        raise ValueError(
            f'transfer is {transfer}, but the model has no semantic memory: give 0, or train one '
            'with it (transfer in benchmarks/ablations.py)'
        )
    shared = model.memory.pseudo_positive(queries.shared, queries.meaning, gate=transfer)
    return queries._replace(shared=shared)


class CorpusSearcher:
    """Searches an index with a model.

    Args:
        model: in eval mode, the one that made the index.
        index: of the corpus.
        encodings: where the encodings of the videos to fuse come from; may be None if only mode
            'fast' is used.
        nms: suppression inside a video in mode 'fast', where no fused score is at hand; None: no
            suppression.
    """

    def __init__(
        self,
        model: DeMUL,
        index: MomentIndex,
        encodings: GetEncodings | None,
        nms: MomentNMS | None,
    ) -> None:
        self.model = model
        self.index = index
        self.encodings = encodings
        self.nms = nms

    def search(
        self,
        queries: QueryEncoding,
        mode: str = 'full',
        num_moments: int = 10,
        num_fused: int = 20,
        num_videos: int = 200,
        num_candidates: int | None = None,
        per_video: int | None = None,
        where: SearchFilter | None = None,
        options: dict[str, Any] | None = None,
        keep_candidates: bool = False,
        vectors: np.ndarray | None = None,
    ) -> tuple[list[CorpusAnswer], dict[str, float]]:
        """Find the best moments of the corpus for each query.

        Args:
            queries: ``Q`` encoded queries.
            mode: 'fast': the index alone; 'full': its best videos are fused; 'exact': the same,
                but the index scores every moment of every video.
            num_moments: how many to return. Moments of fused videos come first, by joint score;
                those of the other videos that the index let through follow, one each.
            num_fused: how many videos are fused.
            num_videos: how many videos level 2 lets through.
            num_candidates: how many videos level 1 hands to level 2; eight times ``num_videos``
                unless said.
            per_video: moments of one video, at most; None: as many as suppression leaves.
            where: only videos that pass.
            options: of the index's level 1.
            keep_candidates: name the candidates of level 1 in the hits.
            vectors: ``(Q, S)`` that the index is asked with; None: those of ``queries``.

        Returns:
            An answer for each query, and the seconds that each step took for the whole batch.
        """
        _check(mode, self.encodings, dict(num_moments=num_moments, num_fused=num_fused))
        fast = mode == 'fast'
        best_only = MomentNMS(iou_thr=1.0, max_keep=1)
        found = self.index.search(
            queries.shared.float().cpu().numpy() if vectors is None else vectors,
            num_moments=num_moments if fast else num_videos,
            num_videos=num_videos,
            num_candidates=num_candidates,
            mode='exact' if mode == 'exact' else 'fast',
            where=where,
            nms=self._limited(per_video) if fast else best_only,
            options=options,
            keep_candidates=keep_candidates,
        )
        timings = dict(found.timings)
        if fast:
            answers = [CorpusAnswer(_plain(h), list(h.videos), h, []) for h in found.hits]
            return answers, timings
        timings.update(encode_videos=0.0, fuse=0.0, merge=0.0)
        answers = []
        for start in range(0, len(found.hits), FUSED_QUERIES):
            hits = found.hits[start : start + FUSED_QUERIES]
            rows = torch.arange(start, start + len(hits), device=queries.shared.device)
            answers += self._fuse(
                queries.select(rows), hits, num_fused, num_moments, per_video, timings
            )
        return answers, timings

    def _fuse(
        self,
        queries: QueryEncoding,
        hits: Sequence[MomentHits],
        num_fused: int,
        num_moments: int,
        per_video: int | None,
        timings: dict[str, float],
    ) -> list[CorpusAnswer]:
        """Fuse the best videos of each query; the seconds it takes are added to ``timings``."""
        assert self.encodings is not None
        clock = [time.perf_counter()]
        asked = list(dict.fromkeys(v for h in hits for v in h.videos[:num_fused]))
        have = self.encodings(asked)
        names = [name for name in asked if name in have]
        place = {name: i for i, name in enumerate(names)}
        wanted = [[place[v] for v in h.videos[:num_fused] if v in place] for h in hits]
        clock.append(time.perf_counter())
        found = localize_pairs(self.model, [have[name] for name in names], queries, wanted)
        clock.append(time.perf_counter())
        answers = []
        for h, choice, moments in zip(hits, wanted, found):
            fused = [names[v] for v in choice]
            rows = self._merge(fused, moments, per_video)
            rows += [moment for moment in _plain(h) if moment.video_id not in fused]
            ranking = list(dict.fromkeys(row.video_id for row in rows))
            answers.append(CorpusAnswer(rows[:num_moments], ranking, h, fused))
        clock.append(time.perf_counter())
        for step, seconds in zip(('encode_videos', 'fuse', 'merge'), np.diff(clock).tolist()):
            timings[step] += seconds
        return answers

    def _limited(self, per_video: int | None) -> MomentNMS | None:
        if per_video is None:
            return self.nms
        return MomentNMS(iou_thr=self.nms.iou_thr if self.nms else 1.0, max_keep=per_video)

    def _merge(
        self, ids: Sequence[str], moments: Sequence[InstanceData], per_video: int | None
    ) -> list[CorpusMoment]:
        """A query's fused moments on one scale; equal scores in the order of the index."""
        rows = []
        for video_id, found in zip(ids, moments):
            # The score is this too, unless soft suppression has lowered it.
            chance = self._probability(found.terms).tolist()
            spans, scores = found.spans.tolist(), found.scores.tolist()
            for i in range(min(len(scores), per_video or len(scores))):
                terms = dict(zip(TERMS, found.terms[i].tolist()))
                start, end = spans[i]
                rows.append(CorpusMoment(video_id, start, end, scores[i], chance[i], terms))
        return sorted(rows, key=lambda row: -row.score)

    def _probability(self, terms: Tensor) -> Tensor:
        calibrator = self.model.calibrator
        return calibrator(terms.sum(-1).to(calibrator.scale.device)).cpu()


def _check(mode: str, encodings: GetEncodings | None, depths: Mapping[str, int]) -> None:
    if mode not in MODES:
        raise ValueError(f'mode is {mode!r}; allowed: {", ".join(map(repr, MODES))}')
    if mode != 'fast' and encodings is None:
        raise ValueError(
            f"mode {mode!r} fuses videos, which needs their features; give them, or use 'fast'"
        )
    for name, value in depths.items():
        if value < 1:
            raise ValueError(f'{name} is {value}; it must be at least 1')


def _plain(hits: MomentHits) -> list[CorpusMoment]:
    rows = zip(hits.video_ids, hits.spans.tolist(), hits.scores.tolist())
    return [CorpusMoment(video, start, end, score) for video, (start, end), score in rows]
