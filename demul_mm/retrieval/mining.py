"""Which videos a model takes for each other: hard negatives, mined from its own shared space."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class MinedVideo(NamedTuple):
    """What mining keeps of a video."""

    prototypes: Tensor  # (k, S) unit vectors of its events
    queries: Tensor  # (Q, S) unit vectors
    meaning: Tensor  # (Q, E) unit caption vectors


@torch.no_grad()
def mine_rivals(
    videos: Sequence[MinedVideo],
    num_rivals: int = 8,
    too_alike: float = 0.8,
    chunk: int = 1024,
) -> list[list[int]]:
    """The wrong videos that the queries of each video find first.

    A query finds a video by its best prototype, as level 1 of the index does. A video is skipped
    that has a caption too much like the query: it may well show the same event.

    Args:
        videos: ``V`` of them.
        num_rivals: for each video, at most.
        too_alike: cosine of two captions above which they may tell of the same event.

    Returns:
        For each video the numbers of its rivals, hardest first.
    """
    counts = [len(video.prototypes) for video in videos]
    prototypes = torch.cat([video.prototypes for video in videos])  # (P, S)
    owner = torch.repeat_interleave(torch.arange(len(videos)), torch.tensor(counts))
    queries = torch.cat([video.queries for video in videos])
    meaning = torch.cat([video.meaning for video in videos])
    asked = torch.tensor([len(video.queries) for video in videos])
    of_query = torch.repeat_interleave(torch.arange(len(videos)), asked)
    depth = min(4 * num_rivals + 1, len(videos))
    best: list[dict[int, float]] = [{} for _ in videos]
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        near = part.new_full((len(part), len(videos)), -2.0)
        near.scatter_reduce_(
            1, owner.expand(len(part), -1), part @ prototypes.T, 'amax', include_self=True
        )
        scores, found = near.topk(depth, dim=1)
        for q, (row, names) in enumerate(zip(scores.tolist(), found.tolist()), start):
            mine = int(of_query[q])
            for score, name in zip(row, names):
                if name == mine or score <= best[mine].get(name, -2.0):
                    continue
                captions = videos[name].meaning
                if len(captions) and float((captions @ meaning[q]).max()) > too_alike:
                    continue
                best[mine][name] = score
    return [sorted(row, key=lambda name: -row[name])[:num_rivals] for row in best]
