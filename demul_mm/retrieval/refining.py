"""Applying feedback of a user: to the query, and to the moments that were found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor
from torch.nn import functional as F

from demul_mm.index import MomentIndex
from demul_mm.retrieval.constraints import occurrence
from demul_mm.structures import Moment, pairwise_iou


@dataclass(frozen=True)
class FeedbackWeights:
    """How strongly feedback moves a query.

    Attributes:
        liked: weight of each liked moment, where the query's own weight is 1.
        disliked: weight of each disliked moment.
        fused: by how much the logit of a fused moment rises for each unit by which the feedback
            raises its similarity.
    """

    liked: float = 0.1
    disliked: float = 0.02
    fused: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f'{name} is {value}; it must be at least 0')


def refine_query(
    query: Tensor, liked: Tensor, disliked: Tensor, weights: FeedbackWeights
) -> tuple[Tensor, Tensor]:
    """Move a query towards liked moments and away from disliked ones.

    After Rocchio ("Relevance feedback in information retrieval", 1971), but with sums where he has
    means: each further liked moment of unit length then gains more than any other moment does, so
    that liking never lowers its rank, nor disliking raises it.

    Args:
        query: ``(S,)`` unit vector.
        liked: ``(L, S)`` unit vectors.
        disliked: ``(D, S)`` unit vectors.

    Returns:
        The refined query ``(S,)``, a unit vector, and the offset ``(S,)`` that was added.
    """
    offset = weights.liked * liked.sum(0) - weights.disliked * disliked.sum(0)
    return F.normalize(query + offset, dim=-1), offset


class MomentVectors:
    """Vectors of moments that an index holds, by video and span.

    Args:
        index: the corpus's.
    """

    def __init__(self, index: MomentIndex) -> None:
        self.index = index
        self._videos: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, video_id: str, spans: np.ndarray) -> Tensor:
        """The vectors ``(N, S)`` of the video's moments that overlap most with ``spans (N, 2)``."""
        if video_id not in self._videos:
            (entry,) = self.index.get([video_id])
            moments = torch.from_numpy(np.asarray(entry.moments, np.float32))
            self._videos[video_id] = torch.from_numpy(entry.spans), F.normalize(moments, dim=-1)
        own, moments = self._videos[video_id]
        iou = pairwise_iou(torch.as_tensor(np.asarray(spans, np.float32)), own)  # (N, M)
        return moments[iou.argmax(1)]


def rescore(moments: Sequence[Moment], vectors: MomentVectors, offset: Tensor) -> list[Moment]:
    """Fused moments, their logits moved by what feedback says of them; the others behind as before.

    Args:
        moments: best first.
        offset: ``(S,)``, in logits for a moment's unit vector; what it gives to all of them on
            average is taken off, so that scores stay where they were.
    """
    fused = [moment for moment in moments if moment.probability is not None]
    others = [moment for moment in moments if moment.probability is None]
    if not fused:
        return others
    rows = [vectors(m.video_id, np.array([[m.start, m.end]]))[0] for m in fused]
    gains = torch.stack(rows) @ offset
    shifts = (gains - gains.mean()).tolist()
    moved = [replace(m, score=float(expit(_logit(m.score) + s))) for m, s in zip(fused, shifts)]
    return sorted(moved, key=lambda moment: -moment.score) + others


def pick_occurrences(moments: Sequence[Moment], number: int, tolerance: float) -> list[Moment]:
    """The ``number``-th time in each video, best first.

    Args:
        number: 1 the first, -1 the last.
        tolerance: see :class:`~demul_mm.retrieval.SessionOptions`.
    """
    videos: dict[str, list[Moment]] = {}
    for moment in moments:
        videos.setdefault(moment.video_id, []).append(moment)
    found = []
    for own in videos.values():
        fused = own[0].probability is not None
        one = occurrence(
            own,
            lambda m: (m.start, m.end),
            (lambda m: _logit(m.score)) if fused else (lambda m: m.score),
            number,
            tolerance if fused else 0.1 * tolerance,
        )
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda m: (m.probability is None, -m.score))


def _logit(probability: float) -> float:
    return float(logit(min(max(probability, 1e-6), 1 - 1e-6)))
