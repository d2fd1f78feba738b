"""Searching a corpus in steps: index, fusion of the survivors, one ranking."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData

from demul_mm.index import MomentHits, MomentIndex
from demul_mm.models.heads.joint_score import TERMS
from demul_mm.models.localizers import DeMUL
from demul_mm.retrieval.encodings import EncodedVideo
from demul_mm.retrieval.localizing import localize_pairs
from demul_mm.retrieval.options import SearchOptions
from demul_mm.structures import Moment, QueryEncoding, as_names
from demul_mm.structures.nms import MomentNMS

# Queries whose videos are held in memory at once.
FUSED_QUERIES = 64

# Encodings of videos by id; ids that cannot be had are left out.
GetEncodings = Callable[[Sequence[str]], Mapping[str, EncodedVideo]]


@dataclass(frozen=True)
class CorpusAnswer:
    """The answer to one query.

    Attributes:
        moments: best first.
        videos: all that the index let through, by their best moment.
        hits: what the index said.
        fused: the videos that were fused, in the order of the index.
    """

    moments: list[Moment]
    videos: list[str]
    hits: MomentHits
    fused: list[str]


@torch.no_grad()
def encode_queries(model: DeMUL, sentences: Sequence[str], transfer: float = 0.0) -> QueryEncoding:
    """Encode sentences; with ``transfer``, drawn towards what the semantic memory knows.

    Args:
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


@dataclass(eq=False)
class CorpusSearcher:
    """Searches an index with a model.

    Args:
        model: in eval mode, the one that made the index.
        index: the corpus's.
        encodings: where the encodings of the videos to fuse come from; may be None if only mode
            'fast' is used.
        nms: suppression inside a video in mode 'fast', where no fused score is at hand; None: no
            suppression.
    """

    model: DeMUL
    index: MomentIndex
    encodings: GetEncodings | None
    nms: MomentNMS | None

    def search(
        self,
        queries: QueryEncoding,
        options: SearchOptions,
        keep_candidates: bool = False,
        vectors: np.ndarray | None = None,
        sentences: Sequence[str] | None = None,
    ) -> tuple[list[CorpusAnswer], dict[str, float]]:
        """Find the best moments of the corpus for each query.

        Args:
            queries: ``Q`` encoded queries.
            keep_candidates: name the candidates of level 1 in the hits.
            vectors: ``(Q, S)`` that the index is asked with; None: those of ``queries``.
            sentences: the ``Q`` queries in words, held against the texts of the videos; None:
                words do not count.

        Returns:
            An answer for each query, and the seconds that each step took for the whole batch.
        """
        mode = options.mode
        if mode != 'fast' and self.encodings is None:
            raise ValueError(
                f"mode {mode!r} fuses videos, which needs their features; give them, or use 'fast'"
            )
        fast = mode == 'fast'
        num_videos = max(options.num_videos, options.num_fused)
        best_only = MomentNMS(iou_thr=1.0, max_keep=1)
        found = self.index.search(
            queries.shared.float().cpu().numpy() if vectors is None else vectors,
            num_moments=options.num_moments if fast else num_videos,
            num_videos=num_videos,
            num_candidates=options.num_candidates,
            mode='exact' if mode == 'exact' else 'fast',
            where=options.where,
            nms=self._limited(options.per_video) if fast else best_only,
            options=dict(options.index_options or {}),
            keep_candidates=keep_candidates,
            words=sentences,
            words_weight=self.model.head.joint.words_weight.item(),
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
            answers += self._fuse(queries.select(rows), hits, options, timings)
        return answers, timings

    def _fuse(
        self,
        queries: QueryEncoding,
        hits: Sequence[MomentHits],
        options: SearchOptions,
        timings: dict[str, float],
    ) -> list[CorpusAnswer]:
        """Fuse the best videos of each query; the seconds it takes are added to ``timings``."""
        assert self.encodings is not None
        clock = [time.perf_counter()]
        asked = list(dict.fromkeys(v for h in hits for v in h.videos[: options.num_fused]))
        have = self.encodings(asked)
        names = [name for name in asked if name in have]
        place = {name: i for i, name in enumerate(names)}
        wanted = [[place[v] for v in h.videos[: options.num_fused] if v in place] for h in hits]
        clock.append(time.perf_counter())
        found = localize_pairs(self.model, [have[name] for name in names], queries, wanted)
        clock.append(time.perf_counter())
        answers = []
        for h, choice, moments in zip(hits, wanted, found):
            fused = [names[v] for v in choice]
            word_scores = dict(zip(h.videos, h.word_scores.tolist()))
            rows = self._merge(fused, moments, options.per_video, word_scores)
            rows += [moment for moment in _plain(h) if moment.video_id not in fused]
            ranking = list(dict.fromkeys(row.video_id for row in rows))
            answers.append(CorpusAnswer(rows[: options.num_moments], ranking, h, fused))
        clock.append(time.perf_counter())
        for step, seconds in zip(('encode_videos', 'fuse', 'merge'), np.diff(clock).tolist()):
            timings[step] += seconds
        return answers

    def _limited(self, per_video: int | None) -> MomentNMS | None:
        if per_video is None:
            return self.nms
        return MomentNMS(iou_thr=self.nms.iou_thr if self.nms else 1.0, max_keep=per_video)

    def _merge(
        self,
        ids: Sequence[str],
        moments: Sequence[InstanceData],
        per_video: int | None,
        word_scores: Mapping[str, float],
    ) -> list[Moment]:
        """A query's fused moments on one scale; equal scores in the order of the index.

        Words say which video, not which moment: the probability, of a moment in its video, is
        without them.

        Args:
            word_scores: of each video, how much likelier its words make it.
        """
        rows = []
        calibrator = self.model.calibrator
        scale, bias = calibrator.scale.item(), calibrator.bias.item()
        weight = self.model.head.joint.weights[TERMS.index('video')].item()
        for video_id, found in zip(ids, moments):
            chance = calibrator(found.joint.to(calibrator.scale)).cpu()
            # The score is this too, unless soft suppression has lowered it.
            lowered = found.scores / chance.clamp(min=1e-30)
            words = weight * word_scores[video_id]
            # A logarithm: words may bring many probabilities so close to 1 that they look the same.
            ranks = F.logsigmoid(scale * (found.joint.double() + words) + bias) + lowered.log()
            spans, scores = found.spans.tolist(), ranks.exp().tolist()
            for i in range(min(len(scores), per_video or len(scores))):
                terms = dict(zip(TERMS, found.terms[i].tolist()))
                if words:
                    terms['words'] = words
                start, end = spans[i]
                moment = Moment(video_id, start, end, scores[i], chance[i].item(), terms)
                rows.append((ranks[i].item(), moment))
        return [moment for _, moment in sorted(rows, key=lambda row: -row[0])]


def _plain(hits: MomentHits) -> list[Moment]:
    rows = zip(hits.video_ids, hits.spans.tolist(), hits.scores.tolist())
    return [Moment(video, start, end, score) for video, (start, end), score in rows]
