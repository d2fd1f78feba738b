"""Which query meets which video."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.structures import MomentDataSample, span_iou
from demul_mm.transfer import to_device


class TrainingBatch(NamedTuple):
    """What the losses of a batch of ``V`` videos with ``Q`` queries compare."""

    owner: Tensor  # (Q,) the video of each query
    truth: Tensor  # (Q, G, 2) true moments, in clips
    span_mask: Tensor  # (Q, G)
    positive: Tensor  # (Q, M) cells of the own video that answer for a moment
    own: Tensor  # (Q, M, 2) the moment that each cell is compared with, in clips
    cells: Tensor  # (Q, V, M) cosines in the shared space
    near: Tensor  # (Q, V) similarity of query and video


def require_streams(streams: Collection[str], names: Iterable[str]) -> None:
    """Refuse a batch that lacks a stream which the model reads."""
    for name in names:
        if name not in streams:
            raise ValueError(
                f'the batch has no stream {name!r} (it has {sorted(streams)}): load it in the '
                'pipeline or take it out of the model'
            )


def own_pairs(num_queries: Sequence[int], device: torch.device) -> Tensor:
    """The video of each query, ``(Q,)`` int64, when video ``v`` has ``num_queries[v]`` of them."""
    owner = np.repeat(np.arange(len(num_queries)), num_queries)
    return to_device(torch.from_numpy(owner), device)


def pad_spans(samples: Sequence[MomentDataSample], device: torch.device) -> tuple[Tensor, Tensor]:
    """True moments of all queries: ``(Q, G, 2)`` in [0, 1] of the clip axis, mask ``(Q, G)``."""
    rows = [(span, sample) for sample in samples for span in sample.gt_spans]
    counts = np.array([len(span) for span, _ in rows], dtype=np.int64)
    mask = np.arange(counts.max(initial=0)) < counts[:, None]  # (Q, G)
    spans = np.zeros((*mask.shape, 2), np.float32)
    if mask.any():
        extents = [sample.metainfo.get('extent', sample.duration) for _, sample in rows]
        flat = np.concatenate([span.numpy() for span, _ in rows])  # in the order of the mask
        flat = flat / np.repeat(np.array(extents, np.float32), counts)[:, None]
        spans[mask] = flat.clip(0, 1)
    return to_device(torch.from_numpy(spans), device), to_device(torch.from_numpy(mask), device)


def touching(points: PyramidPoints, truth: Tensor, span_mask: Tensor) -> Tensor:
    """``(Q, M)``: True where a cell overlaps a true moment of ``truth (Q, G, 2)``, in clips."""
    low, high = points.cell_spans().unbind(-1)
    overlap = (truth[..., :1] < high) & (truth[..., 1:] > low)  # (Q, G, M)
    return (overlap & span_mask[..., None]).any(1)


def same_moment(spans: Tensor, mask: Tensor, owner: Tensor, min_iou: float = 0.7) -> Tensor:
    """``(Q, Q)``: queries about one video whose first moments are nearly the same, and itself.

    Args:
        spans: ``(Q, G, 2)``.
        mask: ``(Q, G)``.
        owner: ``(Q,)`` the video of each query.
        min_iou: from which two moments count as one.
    """
    alone = torch.eye(len(owner), dtype=torch.bool, device=owner.device)
    if not spans.shape[1]:
        return alone
    near = span_iou(spans[:, None, 0], spans[None, :, 0]) >= min_iou
    known = mask[:, :1] & mask[None, :, 0]
    return alone | (near & known & (owner[:, None] == owner))


def hardest_negatives(
    similarity: Tensor, owner: Tensor, meaning: Tensor, number: float, too_alike: float = 0.8
) -> tuple[Tensor, Tensor]:
    """The videos of the batch that look most like a query's, without likely false negatives.

    Args:
        similarity: ``(Q, V)`` of query and video.
        owner: ``(Q,)`` the video of each query.
        meaning: ``(Q, Q)`` cosine of the captions.
        number: negatives for each query, fewer where the batch has fewer videos; with 0.25, the
            quarter of the queries whose rival comes nearest to its own video gets one.
        too_alike: a video with a caption more alike than this is skipped while others are left.

    Returns:
        video ``(N,)`` and query ``(N,)``, int64.
    """
    num, count = similarity.shape
    each = min(math.ceil(number), count - 1)
    if each < 1:
        empty = owner[:0]
        return empty, empty
    alike = torch.zeros_like(similarity).scatter_reduce(
        1, owner[None].expand_as(meaning), meaning.to(similarity.dtype), 'amax'
    )
    rank = torch.where(alike > too_alike, similarity - 10.0, similarity)
    rank = rank.scatter(1, owner[:, None], -1e4)
    score, video = rank.topk(each, dim=1)  # (Q, each)
    query = torch.arange(num, device=owner.device)[:, None].expand_as(video)
    margin = score - similarity.gather(1, owner[:, None])
    chosen = margin.flatten().topk(min(math.ceil(number * num), num * each)).indices.sort().values
    return video.flatten()[chosen], query.flatten()[chosen]


def chunk_pairs(num_pairs: int, num_points: int, budget: int) -> Iterator[slice]:
    """Slices of the pairs, each with at most ``budget`` cells (and at least one pair)."""
    step = max(1, budget // max(num_points, 1))
    for start in range(0, num_pairs, step):
        yield slice(start, min(start + step, num_pairs))
