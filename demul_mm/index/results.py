"""What a search returns."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class MomentHits:
    """The answer to one query.

    Attributes:
        video_ids: where the N best moments are.
        spans: ``(N, 2)`` float32 seconds.
        scores: ``(N,)`` float32, inner products, and what words add; best first.
        videos: ids of the videos that survived level 2, by their best moment, best first.
        video_scores: their scores.
        word_scores: what of each is due to words that it shares with the query.
        candidates: how many videos level 1 handed over.
        candidate_ids: their ids, if the search was asked to keep them.
    """

    video_ids: list[str]
    spans: np.ndarray
    scores: np.ndarray
    videos: list[str]
    video_scores: np.ndarray
    word_scores: np.ndarray
    candidates: int
    candidate_ids: list[str] | None = None


@dataclass(frozen=True)
class SearchResult:
    """The answers to a batch of queries.

    Attributes:
        hits: one for each query.
        timings: seconds of each step for the whole batch: ``filter``, ``level1``, ``level2`` and
            ``names``.
    """

    hits: list[MomentHits]
    timings: dict[str, float] = field(default_factory=dict)
