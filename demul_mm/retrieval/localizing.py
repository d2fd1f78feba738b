"""Localising moments in encoded videos, many pairs at once."""

from collections.abc import Iterator, Sequence

import torch
from mmengine.structures import InstanceData

from demul_mm.models.heads.joint_score import VIDEO
from demul_mm.models.localizers import DeMUL
from demul_mm.retrieval.encodings import EncodedVideo, stack_encodings
from demul_mm.structures import QueryEncoding


@torch.no_grad()
def localize_pairs(
    model: DeMUL,
    videos: Sequence[EncodedVideo],
    queries: QueryEncoding,
    wanted: Sequence[Sequence[int]],
) -> list[list[InstanceData]]:
    """Fuse each query with its videos and keep the best moments of each pair.

    All pairs of a query go through the model together, since their border curves are normalised
    together; queries share passes of at most ``model.max_pair_points`` cells.

    Args:
        videos: ``V`` encoded videos.
        queries: ``Q`` queries.
        wanted: for each query, the indices of its videos.

    Returns:
        For each query and each of its videos the moments after calibration and suppression, best
        first, as :meth:`DeMUL.select` gives them. ``alone (K,)`` is what their joint scores and
        boundary terms gain where the query has no other video, as in calibration. The meta
        information ``likeness`` is the video's term, which is known without a moment, too.
    """
    found: list[list[InstanceData]] = []
    for rows in _chunks(wanted, videos, model.max_pair_points):
        needed = sorted({v for choice in wanted[rows] for v in choice})
        if not needed:
            found += [[] for _ in wanted[rows]]
            continue
        place = {v: i for i, v in enumerate(needed)}
        stacked = stack_encodings([videos[v].encoding for v in needed], model.points.num_levels)
        device = queries.shared.device
        stacked = type(stacked)(*(field.to(device) for field in stacked))
        flat = [(q, v) for q, choice in enumerate(wanted[rows]) for v in choice]
        query = torch.tensor([rows.start + q for q, _ in flat], device=device)
        video = torch.tensor([place[v] for _, v in flat], device=device)
        candidates = model.localize(stacked, queries, video, query)
        moments = model.select(
            candidates,
            queries.meaning[query],
            torch.tensor([videos[v].extent for _, v in flat], device=device),
            [videos[v].duration for _, v in flat],
        )
        likeness = candidates.terms[:, 0, VIDEO].tolist()  # the same for all of a pair's
        for one, gain, alike in zip(moments, candidates.alone.cpu(), likeness):
            one.alone = gain.to(one.joint).expand(len(one.joint))
            one.set_metainfo(dict(likeness=alike))
        left = iter(moments)
        found += [[next(left) for _ in choice] for choice in wanted[rows]]
    return found


def _chunks(
    wanted: Sequence[Sequence[int]], videos: Sequence[EncodedVideo], budget: int
) -> Iterator[slice]:
    """Slices of the queries, each with at most ``budget`` cells (and at least one query)."""
    start = pairs = width = 0
    for q, choice in enumerate(wanted):
        wider = max([width, *(videos[v].num_cells for v in choice)])
        if q > start and (pairs + len(choice)) * wider > budget:
            yield slice(start, q)
            start, pairs = q, 0
            wider = max([0, *(videos[v].num_cells for v in choice)])
        pairs, width = pairs + len(choice), wider
    if start < len(wanted):
        yield slice(start, len(wanted))
