"""What a model finds in held-out videos, for the hooks that fit a number on it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from mmengine.dist import get_world_size
from torch import Tensor

from demul_mm.engine.encoding import encode_batches
from demul_mm.models.localizers import DeMUL
from demul_mm.structures import MomentCandidates

# A query: the place of its video in the data set, and its own among the queries of the video.
QueryKey = tuple[int, int]


class OwnCandidates(NamedTuple):
    """All candidates of ``R`` queries in their own videos."""

    keys: Sequence[QueryKey]  # R of them
    found: MomentCandidates
    meaning: Tensor  # (R, E) of the queries
    extents: Tensor  # (R,) seconds that the clip axis covers
    durations: Tensor  # (R,) seconds
    truths: Sequence[Tensor]  # R times (G, 2) seconds

    @property
    def seconds(self) -> Tensor:
        """``(R, M, 2)``: where the candidates lie."""
        return self.found.spans.float() * self.extents[:, None, None]


@torch.no_grad()
def own_candidates(model: DeMUL, loader: Iterable, max_queries: int) -> Iterator[OwnCandidates]:
    """Those of the queries of a loader, until ``max_queries`` with a known moment have been seen.

    Args:
        model: in its test mode.
        loader: gives batches of a data set with queries.
        max_queries: of all ranks together; the batch that reaches a rank's share is its last.
    """
    seen = 0
    batches = takewhile(lambda _: seen * get_world_size() < max_queries, loader)
    for videos, queries, _, samples in encode_batches(model, batches):
        truths = [spans for sample in samples for spans in sample.gt_spans]
        seen += sum(len(spans) > 0 for spans in truths)
        keys = [(int(s.sample_idx), q) for s in samples for q in range(len(s.queries))]
        seconds = torch.tensor([s.duration for s in samples for _ in s.queries])
        for rows, found, extents in model.own_candidates(videos, queries, samples):
            durations = seconds[rows].to(extents)
            meaning = queries.meaning[rows]
            yield OwnCandidates(keys[rows], found, meaning, extents, durations, truths[rows])
