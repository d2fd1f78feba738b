"""Pairing of queries with videos."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from demul_mm.device import to_device
from demul_mm.structures import MomentDataSample


def require_streams(streams: Collection[str], names: Iterable[str]) -> None:
    """Refuse a batch that lacks a stream which the model reads."""
    for name in names:
        if name not in streams:
            raise ValueError(
                f'the batch has no stream {name!r} (it has {sorted(streams)}): load it in the '
                'pipeline or take it out of the model'
            )


def require_queries(inputs: dict) -> None:
    """Refuse a batch without a query."""
    if inputs['ids'] is None:
        raise ValueError('the batch has no query: leave videos without one out of training')


def own_pairs(num_queries: Sequence[int], device: torch.device) -> Tensor:
    """The video of each query, ``(Q,)`` int64, when video ``v`` has ``num_queries[v]`` of them."""
    owner = np.repeat(np.arange(len(num_queries)), num_queries)
    return to_device(torch.from_numpy(owner), device)


def true_spans(samples: Sequence[MomentDataSample], device: torch.device) -> tuple[Tensor, Tensor]:
    """True moments of all queries: ``(Q, G, 2)`` in [0, 1] of the clip axis, mask ``(Q, G)``.

    A moment that begins where the clips have ended is left out: no clip shows it.
    """
    rows = [(span.numpy(), sample) for sample in samples for span in sample.gt_spans]
    extents = [sample.metainfo.get('extent', sample.duration) for _, sample in rows]
    query = np.repeat(np.arange(len(rows)), np.array([len(span) for span, _ in rows], np.int64))
    flat = np.concatenate([np.zeros((0, 2), np.float32), *(span for span, _ in rows)])
    flat = (flat / np.array(extents, np.float32)[query, None]).clip(0, 1)
    shown = flat[:, 0] < flat[:, 1]
    counts = np.bincount(query[shown], minlength=len(rows))
    mask = np.arange(counts.max(initial=0)) < counts[:, None]  # (Q, G)
    spans = np.zeros((*mask.shape, 2), np.float32)
    spans[mask] = flat[shown]  # in the order of the mask
    return to_device(torch.from_numpy(spans), device), to_device(torch.from_numpy(mask), device)


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
