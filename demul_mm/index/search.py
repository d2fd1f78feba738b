"""The steps of a search that every backend shares."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from demul_mm.index.filters import SearchFilter
from demul_mm.index.results import MomentHits, SearchResult
from demul_mm.index.snapshot import Snapshot, expand_ranges
from demul_mm.structures.nms import MomentNMS, SoftNMS

Suppression = MomentNMS | SoftNMS
# Queries whose candidates are read together; each is multiplied with those of all of them.
TOGETHER = 4
# Videos whose moments are decoded at once by the exhaustive scan.
SCAN_VIDEOS = 2048
# With so few videos to choose from, scoring all their moments is quicker than anything.
SCAN_UP_TO = 1000


class Level1Query(NamedTuple):
    """What level 1 is asked.

    Attributes:
        snapshot: the index as it is searched.
        level1: what the backend opened for it.
        queries: ``(Q, S)`` float32.
        depth: how many videos for each query; fewer than are allowed.
        allowed: ``(num_videos,)`` bool.
        options: settings of this search, as ``nprobe``.
        bonus: ``(Q, num_videos)``, what words add to the scores of each video. Where level 1 does
            not look at it, the videos that words alone find best are added to what it gives.
    """

    snapshot: Snapshot
    level1: Any
    queries: Tensor
    depth: int
    allowed: np.ndarray
    options: dict[str, Any]
    bonus: np.ndarray


class Searcher(ABC):
    """Searching in two levels; a backend says how level 1 goes."""

    @abstractmethod
    def _opened(self) -> tuple[Snapshot, Any]:
        """The version to be searched, and its level 1."""

    @abstractmethod
    def _candidates(self, asked: Level1Query) -> list[np.ndarray]:
        """Level 1: for each query at most ``asked.depth`` distinct ordinals, best first."""

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse settings that level 1 does not have, also where it is not asked."""
        if options:
            name = type(self).__name__
            raise ValueError(f'{name} has no search options; {sorted(options)} were given')

    def search(
        self,
        queries: np.ndarray | Tensor,
        num_moments: int = 100,
        num_videos: int = 200,
        num_candidates: int | None = None,
        mode: str = 'fast',
        where: SearchFilter | None = None,
        nms: Suppression | None = None,
        options: dict[str, Any] | None = None,
        keep_candidates: bool = False,
        words: Sequence[str] | None = None,
        words_weight: float = 0.0,
    ) -> SearchResult:
        """Find the best moments for each query.

        Args:
            queries: ``(Q, S)``.
            num_moments: N, how many moments to return.
            num_videos: how many videos level 2 lets through, to be fused by the model; moments
                come from these, so N moments are exact only with ``num_videos >= num_moments``.
            num_candidates: how many videos level 1 hands to level 2; eight times ``num_videos``
                unless said.
            mode: 'fast' asks the backend; 'exact' scores every moment of every video.
            nms: suppression inside each video.
            options: settings of the backend's level 1, as ``dict(nprobe=64)``.
            keep_candidates: name the candidates of level 1 in the result.
            words: the ``Q`` sentences themselves; None: vectors alone are compared.
            words_weight: of BM25 between a sentence and a video's metadata ``text``, which is
                added to the inner products of all of the video's moments; 0 for none.
        """
        vectors = torch.as_tensor(np.asarray(queries, np.float32))
        snapshot, level1 = self._opened()
        depth = 8 * num_videos if num_candidates is None else num_candidates
        check_search(vectors, snapshot.codec.dim, mode, (num_moments, num_videos, depth))
        check_words(words, words_weight, len(vectors))
        self._check_options(options or {})
        clock = [time.perf_counter()]
        allowed = snapshot.alive if where is None else snapshot.alive & where.mask(snapshot)
        clock.append(time.perf_counter())
        counted = words if words_weight else None
        bonus = word_bonus(snapshot, counted, words_weight, len(vectors))
        asked = Level1Query(snapshot, level1, vectors, depth, allowed, options or {}, bonus)
        candidates = self._chosen(asked, mode, num_videos)
        clock.append(time.perf_counter())
        found = [
            best(snapshot, *scored, num_videos, num_moments, nms)
            for scored in score_candidates(snapshot, vectors, candidates, bonus)
        ]
        clock.append(time.perf_counter())
        hits = [
            MomentHits(
                video_ids=snapshot.video_ids(moments),
                spans=spans,
                scores=scores,
                videos=snapshot.video_ids(videos),
                video_scores=video_scores,
                word_scores=row[videos],
                candidates=len(ordinals),
                candidate_ids=snapshot.video_ids(ordinals) if keep_candidates else None,
            )
            for (videos, video_scores, moments, spans, scores), ordinals, row in zip(
                found, candidates, bonus
            )
        ]
        clock.append(time.perf_counter())
        steps = dict(zip(('filter', 'level1', 'level2', 'names'), np.diff(clock).tolist()))
        return SearchResult(hits=hits, timings=steps)

    def _chosen(self, asked: Level1Query, mode: str, num_videos: int) -> list[np.ndarray]:
        """The videos that level 2 scores for each query, in any order."""
        allowed, queries = asked.allowed, asked.queries
        count = int(allowed.sum())
        if mode == 'fast' and count > max(asked.depth, SCAN_UP_TO):
            by_words = (best_by_words(row, allowed, num_videos) for row in asked.bonus)
            found = zip(self._candidates(asked), by_words)
            return [np.union1d(near, words) if len(words) else near for near, words in found]
        if count <= asked.depth:
            return [np.flatnonzero(allowed)] * len(queries)
        return exhaustive_candidates(asked.snapshot, queries, num_videos, allowed, asked.bonus)


def check_search(queries: Tensor, dim: int, mode: str, depths: tuple[int, int, int]) -> None:
    """Refuse queries ``(Q, S)``, a mode, or numbers of moments, videos and candidates."""
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f'queries are {tuple(queries.shape)}; this index needs (Q, {dim})')
    if not bool(torch.isfinite(queries).all()):
        raise ValueError('a query holds NaN or infinity; all values must be finite')
    if mode not in ('fast', 'exact'):
        raise ValueError(f"mode is {mode!r}; allowed: 'fast', 'exact'")
    if min(depths) < 1 or depths[2] < depths[1]:
        raise ValueError(
            f'num_moments, num_videos and num_candidates are {depths}; all must be at least 1 and '
            'num_candidates no less than num_videos'
        )


def check_words(words: Sequence[str] | None, weight: float, count: int) -> None:
    """Refuse sentences that are not one for each of ``count`` queries, or their weight."""
    if words is not None and (isinstance(words, str) or len(words) != count):
        raise ValueError(f'words are {words!r}; give a list of {count} sentences, one a query')
    if not 0 <= weight < math.inf:
        raise ValueError(f'words_weight is {weight}; give a number of at least 0')


def word_bonus(
    snapshot: Snapshot, words: Sequence[str] | None, weight: float, count: int
) -> np.ndarray:
    """What words add to the score of each video: ``(Q, num_videos)``, for ``count`` queries."""
    if words is None:
        return np.broadcast_to(np.float32(0), (count, snapshot.num_videos))
    return np.float32(weight) * np.stack([snapshot.words.scores(one) for one in words])


def best_by_words(scores: np.ndarray, allowed: np.ndarray, depth: int) -> np.ndarray:
    """Ordinals of at most ``depth`` allowed videos whose ``scores (V,)`` by words are best."""
    found = np.flatnonzero(allowed & (scores > 0))
    return found[np.argsort(-scores[found], kind='stable')[:depth]]


def exhaustive_candidates(
    snapshot: Snapshot,
    queries: Tensor,
    depth: int,
    allowed: np.ndarray,
    bonus: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The best videos by their best moment, found by scoring every moment of every video.

    Args:
        queries: ``(Q, S)`` float32.
        allowed: ``(num_videos,)`` bool, A of them True: what to look at.
        bonus: ``(Q, num_videos)``, added to the scores of a video; None for none.

    Returns:
        For each query ``(min(depth, A),)`` ordinals, best first, equal scores by ordinal; which of
        several that tie for the last place is chosen is not defined.
    """
    best = torch.full((len(queries), 0), -torch.inf)
    who = torch.zeros((len(queries), 0), dtype=torch.int64)
    ordinals = np.flatnonzero(allowed)
    for start in range(0, len(ordinals), SCAN_VIDEOS):
        part = ordinals[start : start + SCAN_VIDEOS]
        codes, offsets = snapshot.gather(part)
        scores = snapshot.codec.scores(codes, queries).T.numpy()  # (Q, N)
        videos = torch.from_numpy(np.maximum.reduceat(scores, offsets[:-1], axis=1))
        if bonus is not None:
            videos += torch.from_numpy(bonus[:, part])
        best = torch.cat([best, videos], 1)
        who = torch.cat([who, torch.from_numpy(part).expand(len(queries), -1)], 1)
        if best.shape[1] > depth:
            best, order = best.topk(depth, dim=1)
            who = who.gather(1, order)
    # topk leaves equal scores in any order.
    order = who.argsort(dim=1)
    best, who = best.gather(1, order), who.gather(1, order)
    order = best.argsort(dim=1, descending=True, stable=True)
    return list(who.gather(1, order).numpy())


def score_candidates(
    snapshot: Snapshot, queries: Tensor, candidates: Sequence[np.ndarray], bonus: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Level 2: score every moment of each query's candidates exactly.

    Queries are taken some at a time; a video that several of them have as a candidate is read and
    decoded once.

    Args:
        queries: ``(Q, S)`` float32.
        candidates: for each query ``(C,)`` ordinals, in any order.
        bonus: ``(Q, num_videos)``, added to the scores of all moments of a video.

    Yields:
        For each query its candidates in ascending order, ``(C,)`` how many moments each has, and
        the scores ``(N,)`` of the moments of the first, then the second, ...
    """
    for start in range(0, len(queries), TOGETHER):
        part = [np.sort(ordinals) for ordinals in candidates[start : start + TOGETHER]]
        union = np.unique(np.concatenate(part))
        codes, offsets = snapshot.gather(union)
        scores = snapshot.codec.scores(codes, queries[start : start + TOGETHER])  # (N, q)
        columns = scores.T.contiguous().numpy()
        for ordinals, column, added in zip(part, columns, bonus[start:]):
            places = np.searchsorted(union, ordinals)
            starts, ends = offsets[places], offsets[places + 1]
            own = column[expand_ranges(starts, ends)]
            yield ordinals, ends - starts, own + np.repeat(added[ordinals], ends - starts)


def best(
    snapshot: Snapshot,
    candidates: np.ndarray,
    lengths: np.ndarray,
    scores: np.ndarray,
    num_videos: int,
    num_moments: int,
    nms: Suppression | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best videos by their best moment, and the best moments of those.

    Args:
        candidates, lengths, scores: what :func:`score_candidates` yields.
        num_moments: how many moments.
        nms: suppression inside each video, or None.

    Returns:
        Ordinals and scores of the videos; ordinals ``(N,)``, spans ``(N, 2)`` seconds and scores
        ``(N,)`` of the moments. Both best first; equal scores by ordinal, then by moment.
    """
    ends = np.cumsum(lengths)
    by_video = np.maximum.reduceat(scores, ends - lengths) if len(lengths) else scores  # (C,)
    order = np.argsort(-by_video, kind='stable')[:num_videos]
    videos, video_scores = candidates[order], by_video[order]
    order.sort()
    lengths, ends = lengths[order], ends[order]
    scores = scores[expand_ranges(ends - lengths, ends)]
    owners = np.repeat(candidates[order], lengths)
    places = expand_ranges(np.zeros_like(lengths), lengths)
    if len(videos) >= num_moments and (nms is None or nms.vote_iou is None):
        # The best moment of a video is never suppressed: with so many of those, no other that
        # scores less than the last is among the best, nor has it a say in what is.
        kept = scores >= video_scores[num_moments - 1]
        lengths = np.add.reduceat(kept, np.cumsum(lengths) - lengths, dtype=np.int64)
        lengths = lengths[lengths > 0]
        owners, places, scores = owners[kept], places[kept], scores[kept]
    if nms is None:
        order = np.argsort(-scores, kind='stable')[:num_moments]
        spans = snapshot.gather_spans(owners[order], places[order])
    else:
        spans = snapshot.gather_spans(owners, places)
        owners, spans, scores = _suppress(nms, owners, spans, scores, lengths)
        order = np.argsort(-scores, kind='stable')[:num_moments]
        spans = spans[order]
    return videos, video_scores, owners[order], spans, scores[order]


def _suppress(
    nms: Suppression,
    owners: np.ndarray,
    spans: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What ``nms`` keeps of the moments of all videos, padded to the longest."""
    if not len(lengths):
        return owners, spans, scores
    mask = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]  # (R, M)
    padded_spans, padded_scores = torch.zeros(*mask.shape, 2), torch.zeros(mask.shape)
    padded_spans[mask] = torch.from_numpy(spans)
    padded_scores[mask] = torch.from_numpy(scores)
    kept_spans, kept_scores, valid, _ = nms(padded_spans, padded_scores, mask)
    owners = np.repeat(owners[np.cumsum(lengths) - lengths], valid.sum(1).numpy())
    return owners, kept_spans[valid].numpy(), kept_scores[valid].numpy()


def first_of_each_video(
    owners: np.ndarray, scores: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best distinct videos of one query's prototype hits.

    Args:
        owners: ``(H,)`` ordinal of each hit's video, -1 for no hit; in any order.
        scores: ``(H,)``.

    Returns:
        Ordinals and scores of at most ``depth`` videos, best first, equal scores by ordinal.
    """
    valid = owners >= 0
    owners, scores = owners[valid], scores[valid]
    order = np.lexsort((owners, -scores))
    _, first = np.unique(owners[order], return_index=True)
    best = order[np.sort(first)[:depth]]
    return owners[best], scores[best]
