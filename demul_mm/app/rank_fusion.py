"""Fusing what pictures and what words found, by rank alone."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank
# Learning Methods", SIGIR 2009: 1 / (60 + rank), summed.
CONSTANT = 60


class Found(NamedTuple):
    """A moment that one kind of search found; ``why`` is for people.

    Attributes:
        terms: what it was rated by.
        probability: that it is right; None where nothing was calibrated.
    """

    key: str
    start: float
    end: float
    kind: str
    why: str
    score: float
    terms: Mapping[str, float]
    probability: float | None = None


class Hit(NamedTuple):
    """A moment that is an answer, and all that speaks for it; see :class:`Found`."""

    key: str
    path: str
    start: float
    end: float
    score: float
    why: tuple[str, ...]
    terms: Mapping[str, float]
    probability: float | None

    def plain(self) -> dict[str, Any]:
        """All but the video, for JSON."""
        return dict(
            start=round(self.start, 3),
            end=round(self.end, 3),
            score=round(self.score, 6),
            probability=None if self.probability is None else round(self.probability, 4),
            terms={name: round(value, 4) for name, value in self.terms.items()},
            why=list(self.why),
        )


def answer(votes: Sequence[Found], score: float) -> Hit:
    """One moment by what found it; the first says where it is."""
    first, *_ = votes
    return Hit(
        first.key,
        '',
        first.start,
        first.end,
        score,
        tuple(one.why for one in votes),
        {name: value for one in votes for name, value in one.terms.items()},
        next((one.probability for one in votes if one.probability is not None), None),
    )


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
    answers: list[dict[str, tuple[int, Found]]] = []
    of_video: dict[str, list[dict[str, tuple[int, Found]]]] = {}
    for rank, found in by_rank:
        known = of_video.setdefault(found.key, [])
        for votes in known:
            _, first = next(iter(votes.values()))
            if first.kind != found.kind and iou(first, found) > overlap:
                votes.setdefault(found.kind, (rank, found))
                break
        else:
            known.append({found.kind: (rank, found)})
            answers.append(known[-1])
    hits = [
        answer(
            [found for _, found in votes.values()],
            sum(1 / (CONSTANT + rank) for rank, _ in votes.values()),
        )
        for votes in answers
    ]
    return sorted(hits, key=lambda hit: -hit.score)


def iou(a: Found | Hit, b: Found | Hit) -> float:
    """Of two moments of one video."""
    inter = min(a.end, b.end) - max(a.start, b.start)
    return max(0.0, inter) / max(max(a.end, b.end) - min(a.start, b.start), 1e-9)
