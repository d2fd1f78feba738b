"""The interface of a corpus index: searching in two levels."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from demul_mm.index import commit
from demul_mm.index.entry import VideoEntry
from demul_mm.index.filters import SearchFilter
from demul_mm.index.folder import IndexFolder
from demul_mm.index.results import SearchResult
from demul_mm.index.search import (
    Suppression,
    check_search,
    exhaustive_candidates,
    name_hits,
    score_candidates,
)
from demul_mm.index.snapshot import Snapshot
from demul_mm.structures.names import as_names

# With so few videos to choose from, scoring all their moments is quicker than anything.
SCAN_UP_TO = 1000


class MomentIndex(IndexFolder):
    """A corpus of videos in which moments are searched by vectors, kept in a folder.

    Level 1 finds candidate videos by a few event prototypes each; level 2 scores every moment of
    the candidates exactly. Backends differ in how level 1 is searched. One object may be searched
    from several threads. Options and everything that changes the corpus: :class:`IndexFolder`.
    """

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
        allowed: np.ndarray | None = snapshot.alive if len(snapshot.removed) else None
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

    def get(self, video_ids: Sequence[str]) -> list[VideoEntry]:
        """Videos as the index holds them, in the order given.

        Raises:
            KeyError: the index does not hold one of them.
        """
        snapshot, video_ids = self.snapshot, as_names(video_ids, 'video ids')
        ordinals = snapshot.find(video_ids)
        absent = [name for name, ordinal in zip(video_ids, ordinals) if ordinal < 0]
        if absent:
            raise KeyError(f'{len(absent)} videos are not in the index, e.g. {absent[0]!r}')
        return [snapshot.entry(int(ordinal)) for ordinal in ordinals]

    def stats(self) -> dict[str, Any]:
        """Counts, sizes and provenance, as numbers and text."""
        return commit.stats(self.snapshot)
