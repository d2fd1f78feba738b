"""Scores of queries in videos that do not hold their moment."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from demul_mm.engine.encoding import encode_batches
from demul_mm.models.localizers import DeMUL
from demul_mm.retrieval import EncodedVideo, localize_pairs, split_encoding
from demul_mm.structures import QueryEncoding


class NoMatchScores(NamedTuple):
    """What ``N`` queries get in their own video and in one without their moment.

    Scores by name: ``probability``, the best calibrated one; ``likeness``, the joint score's term
    of query and video; ``match``, the calibrator's reading of it.
    """

    own: dict[str, np.ndarray]  # (N,) each
    other: dict[str, np.ndarray]  # (N,) each
    similarity: np.ndarray  # (N,) of the query and the most alike caption of the other video
    query_ids: list[str]
    other_videos: list[str]


def draw_others(
    similarity: Tensor, owner: Tensor, too_alike: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """For each query a video that is not its own and has no caption like it.

    Args:
        similarity: ``(Q, V)`` cosine of a query and the most alike caption of each video.
        owner: ``(Q,)`` the video of each query.
        too_alike: videos with a caption more alike are not drawn; where all others are, the least
            alike one is taken.

    Returns:
        the video of each query ``(Q,)`` int64 and how alike it is ``(Q,)``.
    """
    others = similarity.scatter(1, owner[:, None], 3.0)
    allowed = others <= too_alike
    chance = torch.rand(others.shape, generator=rng).masked_fill(~allowed, -1.0)
    chosen = torch.where(allowed.any(1), chance.argmax(1), others.argmin(1))
    return chosen, similarity.gather(1, chosen[:, None])[:, 0]


def caption_similarity(meaning: Tensor, owner: Tensor, num_videos: int) -> Tensor:
    """``(Q, V)``: cosine of each query and the most alike caption of each video."""
    rows = []
    for part in meaning.split(1024):  # (q, E)
        cosine = part @ meaning.T  # (q, Q)
        start = cosine.new_full((len(part), num_videos), -1.0)
        rows.append(start.scatter_reduce(1, owner.expand_as(cosine), cosine, 'amax'))
    return torch.cat(rows)


@torch.no_grad()
def no_match_scores(
    model: DeMUL, batches: Iterable[dict], too_alike: float = 0.7, seed: int = 0
) -> NoMatchScores:
    """Ask each query of its own video, and of one of the same split that does not hold it.

    That a video without a like caption does not hold the moment is likely, not sure: what nobody
    annotated may be there all the same.

    Args:
        model: in eval mode, calibrated.
        batches: all that the split's data loader gives.
        too_alike: see :func:`draw_others`.
    """
    videos, queries, owner, ids = _gather(model, batches)
    if len(videos) < 2:
        raise ValueError(f'the split has {len(videos)} videos with queries; it takes two or more')
    similarity = caption_similarity(queries.meaning.float().cpu(), owner, len(videos))
    rng = torch.Generator().manual_seed(seed)
    others, alike = draw_others(similarity, owner, too_alike, rng)
    # A pair is a query of its own: the two videos do not compete.
    own = _scores(model, videos, queries, owner)
    other = _scores(model, videos, queries, others)
    names = [videos[v].video_id for v in others.tolist()]
    return NoMatchScores(own, other, alike.numpy(), ids, names)


def _gather(
    model: DeMUL, batches: Iterable[dict]
) -> tuple[list[EncodedVideo], QueryEncoding, Tensor, list[str]]:
    """All videos and queries of a split that have each other."""
    videos: list[EncodedVideo] = []
    encoded, owners, ids = [], [], []
    for batch in encode_batches(model, batches):
        owners.append(batch.owner.cpu() + len(videos))
        encoded.append(batch.queries)
        rows = split_encoding(batch.videos, model.points.num_levels)
        for sample, row in zip(batch.samples, rows):
            extent = float(sample.metainfo.get('extent', sample.duration))
            name = str(sample.video_id)
            videos.append(EncodedVideo(name, float(sample.duration), extent, row, {}))
            ids += [str(query_id) for query_id in sample.query_ids]
    if not encoded:
        raise ValueError('the split has no query: take one with annotations')
    return videos, _joined(encoded), torch.cat(owners), ids


def _joined(parts: Sequence[QueryEncoding]) -> QueryEncoding:
    """Encodings of several batches as one; words are padded to the longest sentence."""
    longest = max(part.words.shape[1] for part in parts)

    def pad(x: Tensor, axis: int, value: int = 0) -> Tensor:
        shape = (*x.shape[:axis], longest - x.shape[axis], *x.shape[axis + 1 :])
        return torch.cat([x, x.new_full(shape, value)], axis)

    axes = dict(words=1, word_mask=1, phrase_attention=2)
    parts = [part._replace(asked=pad(part.asked, 1, -1)) for part in parts]
    columns = {
        name: torch.cat(
            [pad(x, axes[name]) if name in axes else x for x in (getattr(p, name) for p in parts)]
        )
        for name in QueryEncoding._fields
    }
    return QueryEncoding(**columns)


def _scores(
    model: DeMUL, videos: Sequence[EncodedVideo], queries: QueryEncoding, choice: Tensor
) -> dict[str, np.ndarray]:
    found = [
        rows[0] for rows in localize_pairs(model, videos, queries, [[v] for v in choice.tolist()])
    ]
    likeness = torch.tensor([moments.likeness for moments in found])
    match = model.calibrator.match(likeness.to(model.calibrator.match_levels.device))
    return dict(
        probability=np.array([_first(moments.scores) for moments in found], np.float32),
        likeness=likeness.cpu().numpy(),
        match=match.cpu().numpy(),
    )


def _first(scores: Tensor) -> float:
    """The score of the best moment, 0 where suppression left none."""
    return float(scores[0]) if len(scores) else 0.0


def detection(own: np.ndarray, other: np.ndarray, threshold: float) -> dict[str, float]:
    """The answer "no such moment", given where a score is below the threshold.

    Args:
        own: ``(N,)`` scores of queries in the video that holds their moment.
        other: ``(M,)`` of queries in a video that does not.

    Returns:
        in percent: ``detected``, of the queries without a moment, those told so; ``false alarms``,
        of the queries with a moment, those told that there is none; ``right``, the mean of what
        was told rightly of both kinds.
    """
    detected = 100 * float((other < threshold).mean())
    alarms = 100 * float((own < threshold).mean())
    return {'detected': detected, 'false alarms': alarms, 'right': (detected + 100 - alarms) / 2}


def threshold_for(own: np.ndarray, false_alarms: float) -> float:
    """The threshold at which this share of the queries with a moment is told there is none.

    Args:
        own: ``(N,)`` scores of queries in the video that holds their moment.
        false_alarms: in [0, 1].
    """
    if not 0 <= false_alarms <= 1:
        raise ValueError(f'false_alarms is {false_alarms}; it is a share, in [0, 1]')
    return float(np.quantile(own, false_alarms))
