"""The steps of a search that every backend shares."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from demul_mm.index.filters import SearchFilter
from demul_mm.index.results import MomentHits, SearchResult
from demul_mm.index.snapshot import Snapshot, expand_ranges

# Queries whose candidates are read together; each is multiplied with those of all of them.
TOGETHER = 4
# Videos whose moments are decoded at once by the exhaustive scan.
SCAN_VIDEOS = 2048


class Suppression(Protocol):
    """What drops moments that overlap better ones of their video, as ``MomentNMS`` does."""

    def __call__(
        self, spans: Tensor, scores: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of ``(R, M, 2)``, ``(R, M)``, ``(R, M)``: kept spans, scores, whether valid, places."""


# With so few videos to choose from, scoring all their moments is quicker than anything.
SCAN_UP_TO = 1000


class Searcher(ABC):
    """Searching in two levels; a backend says how level 1 goes."""

    @abstractmethod
    def _opened(self) -> tuple[Snapshot, Any]:
        """The version to be searched, and its level 1."""

    @abstractmethod
    def _candidates(
        self,
        snapshot: Snapshot,
        level1: Any,
        queries: Tensor,
        depth: int,
        allowed: np.ndarray | None,
        options: dict[str, Any],
    ) -> list[np.ndarray]:
        """Level 1.

        Args:
            snapshot: of the index.
            level1: from :meth:`_open_level1`.
            queries: ``(Q, S)`` float32.
            depth: how many videos for each query; fewer than are allowed.
            allowed: ``(num_videos,)`` bool, or None: all.
            options: of this search, as ``nprobe``.

        Returns:
            For each query at most ``depth`` distinct ordinals, best first.
        """

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
            where: only videos that pass.
            nms: suppression inside each video.
            options: of the backend's level 1, as ``dict(nprobe=64)``.
            keep_candidates: name the candidates of level 1 in the result.
        """
        vectors = torch.as_tensor(np.asarray(queries, np.float32))
        snapshot, level1 = self._opened()
        depth = 8 * num_videos if num_candidates is None else num_candidates
        check_search(vectors, snapshot.codec.dim, mode, (num_moments, num_videos, depth))
        clock = [time.perf_counter()]
        allowed: np.ndarray | None = None if snapshot.alive.all() else snapshot.alive
        if where is not None:
            passing = where.mask(snapshot)
            allowed = passing if allowed is None else allowed & passing
        clock.append(time.perf_counter())
        candidates = self._level1(
            snapshot, level1, vectors, depth, num_videos, allowed, mode, options or {}
        )
        clock.append(time.perf_counter())
        found = [
            (scored.best_videos(num_videos), scored.best_moments(num_moments, nms))
            for scored in score_candidates(snapshot, vectors, candidates)
        ]
        clock.append(time.perf_counter())
        hits = [
            name_hits(snapshot, videos, moments, ordinals, keep_candidates)
            for (videos, moments), ordinals in zip(found, candidates)
        ]
        clock.append(time.perf_counter())
        steps = dict(zip(('filter', 'level1', 'level2', 'names'), np.diff(clock).tolist()))
        return SearchResult(hits=hits, timings=steps)

    def _level1(
        self,
        snapshot: Snapshot,
        level1: Any,
        queries: Tensor,
        depth: int,
        num_videos: int,
        allowed: np.ndarray | None,
        mode: str,
        options: dict[str, Any],
    ) -> list[np.ndarray]:
        count = snapshot.num_videos if allowed is None else int(allowed.sum())
        if mode == 'fast' and count > max(depth, SCAN_UP_TO):
            return self._candidates(snapshot, level1, queries, depth, allowed, options)
        everything = np.arange(count) if allowed is None else np.flatnonzero(allowed)
        if count <= depth:
            return [everything] * len(queries)
        return exhaustive_candidates(snapshot, queries, num_videos, everything)


def check_search(queries: Tensor, dim: int, mode: str, depths: tuple[int, int, int]) -> None:
    """Refuse queries and options that make no sense.

    Args:
        queries: ``(Q, S)``.
        dim: S of the index.
        mode: 'fast' or 'exact'.
        depths: numbers of moments, videos and candidates.

    Raises:
        ValueError: says what is wrong.
    """
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


def exhaustive_candidates(
    snapshot: Snapshot, queries: Tensor, depth: int, allowed: np.ndarray
) -> list[np.ndarray]:
    """The best videos by their best moment, found by scoring every moment of every video.

    Args:
        snapshot: of the index.
        queries: ``(Q, S)`` float32.
        depth: how many videos for each query.
        allowed: ``(A,)`` ascending ordinals to look at.

    Returns:
        For each query ``(min(depth, A),)`` ordinals, best first, equal scores by ordinal; which of
        several that tie for the last place is chosen is not defined.
    """
    best = torch.full((len(queries), 0), -torch.inf)
    who = torch.zeros((len(queries), 0), dtype=torch.int64)
    for start in range(0, len(allowed), SCAN_VIDEOS):
        part = allowed[start : start + SCAN_VIDEOS]
        codes, offsets = snapshot.gather(part)
        scores = snapshot.codec.scores(codes, queries).numpy()  # (N, Q)
        videos = torch.from_numpy(np.maximum.reduceat(scores, offsets[:-1], axis=0).T)
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
    snapshot: Snapshot, queries: Tensor, candidates: Sequence[np.ndarray]
) -> Iterator['Scored']:
    """Level 2: score every moment of each query's candidates exactly.

    Queries are taken some at a time; a video that several of them have as a candidate is read and
    decoded once.

    Args:
        snapshot: of the index.
        queries: ``(Q, S)`` float32.
        candidates: for each query ``(C,)`` ordinals, in any order.
    """
    for start in range(0, len(queries), TOGETHER):
        part = [np.sort(ordinals) for ordinals in candidates[start : start + TOGETHER]]
        union = np.unique(np.concatenate(part))
        codes, offsets = snapshot.gather(union)
        scores = snapshot.codec.scores(codes, queries[start : start + TOGETHER])  # (N, q)
        for ordinals, column in zip(part, scores.T.contiguous().numpy()):
            places = np.searchsorted(union, ordinals)
            starts, ends = offsets[places], offsets[places + 1]
            yield Scored(snapshot, ordinals, ends - starts, column[expand_ranges(starts, ends)])


class Scored:
    """One query's candidates with their scored moments.

    Args:
        snapshot: of the index.
        candidates: ``(C,)`` ascending ordinals.
        lengths: ``(C,)``, moments of each.
        scores: ``(N,)`` float32, of the moments of the first candidate, then the second, ...
    """

    def __init__(
        self, snapshot: Snapshot, candidates: np.ndarray, lengths: np.ndarray, scores: np.ndarray
    ) -> None:
        self._snapshot = snapshot
        self._candidates = candidates
        self._offsets = np.concatenate([[0], np.cumsum(lengths)])
        self._scores = scores
        self._video_scores = np.zeros(0, np.float32)
        if len(candidates):
            self._video_scores = np.maximum.reduceat(scores, self._offsets[:-1])  # (C,)
        self._kept = np.zeros(0, np.int64)

    def best_videos(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Ordinals and scores of the best videos, best first; the others are dropped."""
        order = np.argsort(-self._video_scores, kind='stable')[:number]
        self._kept = np.sort(order)
        return self._candidates[order], self._video_scores[order]

    def best_moments(
        self, number: int, nms: Suppression | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best moments of the videos kept by :meth:`best_videos`.

        Args:
            number: how many.
            nms: suppression inside each video, or None.

        Returns:
            Ordinals ``(N,)``, spans ``(N, 2)`` seconds and scores ``(N,)``, best first; equal
            scores by ordinal, then by moment.
        """
        starts, ends = self._offsets[self._kept], self._offsets[self._kept + 1]
        lengths = ends - starts
        flat = expand_ranges(starts, ends)
        scores = self._scores[flat]
        ordinals = np.repeat(self._candidates[self._kept], lengths)
        moments = expand_ranges(np.zeros_like(lengths), lengths)
        if nms is None:
            order = np.argsort(-scores, kind='stable')[:number]
            spans = self._snapshot.gather_spans(ordinals[order], moments[order])
            return ordinals[order], spans, scores[order]
        spans = self._snapshot.gather_spans(ordinals, moments)
        return _suppress(nms, number, ordinals, spans, scores, lengths)


def name_hits(
    snapshot: Snapshot,
    videos: tuple[np.ndarray, np.ndarray],
    moments: tuple[np.ndarray, np.ndarray, np.ndarray],
    candidates: np.ndarray,
    keep_candidates: bool,
) -> MomentHits:
    """One query's result: what :class:`Scored` returned, with ids instead of ordinals."""
    return MomentHits(
        video_ids=snapshot.video_ids(moments[0]),
        spans=moments[1],
        scores=moments[2],
        videos=snapshot.video_ids(videos[0]),
        video_scores=videos[1],
        candidates=len(candidates),
        candidate_ids=snapshot.video_ids(candidates) if keep_candidates else None,
    )


def _suppress(
    nms: Suppression,
    number: int,
    ordinals: np.ndarray,
    spans: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run ``nms`` on all videos at once, padded to the longest."""
    videos = len(lengths)
    if not videos:
        return ordinals, spans, scores
    width = int(lengths.max())
    mask = torch.arange(width) < torch.from_numpy(lengths)[:, None]  # (R, M)
    padded_spans = torch.zeros(videos, width, 2)
    padded_scores = torch.zeros(videos, width)
    padded_spans[mask] = torch.from_numpy(spans)
    padded_scores[mask] = torch.from_numpy(scores)
    kept_spans, kept_scores, valid, _ = nms(padded_spans, padded_scores, mask)
    first = np.cumsum(lengths) - lengths
    owners = np.repeat(ordinals[first], valid.sum(1).numpy())
    flat_scores = kept_scores[valid].numpy()
    order = np.argsort(-flat_scores, kind='stable')[:number]
    return owners[order], kept_spans[valid].numpy()[order], flat_scores[order]


def first_of_each_video(
    owners: np.ndarray, scores: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best distinct videos of one query's prototype hits.

    Args:
        owners: ``(H,)`` ordinal of each hit's video, -1 for no hit; in any order.
        scores: ``(H,)``.
        depth: how many videos.

    Returns:
        Ordinals and scores of at most ``depth`` videos, best first, equal scores by ordinal.
    """
    valid = owners >= 0
    owners, scores = owners[valid], scores[valid]
    order = np.lexsort((owners, -scores))
    _, first = np.unique(owners[order], return_index=True)
    best = order[np.sort(first)[:depth]]
    return owners[best], scores[best]
