"""Fusing what pictures and what words found, by rank alone."""

from collections.abc import Sequence
from typing import NamedTuple

# Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank
# Learning Methods", SIGIR 2009: 1 / (60 + rank), summed.
CONSTANT = 60


class Found(NamedTuple):
    """A moment that one kind of search found; ``why`` is for people."""

    key: str
    start: float
    end: float
    kind: str
    why: str
    score: float


class Hit(NamedTuple):
    """A moment that is an answer, and all that speaks for it."""

    key: str
    path: str
    start: float
    end: float
    score: float
    why: tuple[str, ...]


def fuse(lists: Sequence[Sequence[Found]], overlap: float) -> list[Hit]:
    """One ranking of several.

    A moment that overlaps a better one of another kind in the same video speaks for that one, once
    for each kind; the span stays that of the better one.

    Args:
        lists: rankings, best first, each of one kind.
        overlap: IoU above which two moments are one.
    """
    by_rank = sorted(
        ((rank, found) for one in lists for rank, found in enumerate(one, 1)),
        key=lambda item: item[0],
    )
    answers: list[tuple[Found, dict[str, tuple[int, str]]]] = []
    of_video: dict[str, list[tuple[Found, dict[str, tuple[int, str]]]]] = {}
    for rank, found in by_rank:
        known = of_video.setdefault(found.key, [])
        for first, votes in known:
            if first.kind != found.kind and iou(first, found) > overlap:
                votes.setdefault(found.kind, (rank, found.why))
                break
        else:
            known.append((found, {found.kind: (rank, found.why)}))
            answers.append(known[-1])
    hits = [
        Hit(
            first.key,
            '',
            first.start,
            first.end,
            sum(1 / (CONSTANT + rank) for rank, _ in votes.values()),
            tuple(why for _, why in votes.values()),
        )
        for first, votes in answers
    ]
    return sorted(hits, key=lambda hit: -hit.score)


def iou(a: Found | Hit, b: Found | Hit) -> float:
    """Of two moments of one video."""
    inter = min(a.end, b.end) - max(a.start, b.start)
    return max(0.0, inter) / max(max(a.end, b.end) - min(a.start, b.start), 1e-9)
