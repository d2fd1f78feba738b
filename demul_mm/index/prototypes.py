"""Event prototypes: the few vectors by which level 1 finds a video."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def select_prototypes(
    moments: Sequence[np.ndarray], num_prototypes: int, refine_steps: int = 2
) -> list[np.ndarray]:
    """Choose prototypes so that every moment, however short, is near one of them.

    Greedy k-centre: the first seed is the moment closest to all others, each further one the
    moment that is worst covered so far, which is what keeps an event of a single clip from being
    averaged away. A few steps of spherical k-means then move the seeds into the middle of what
    they cover; more steps would drift towards the long events again (docs/index.md has the
    comparison).

    Args:
        moments: for each video ``(M, S)`` float32, L2-normalised; ``M`` may differ.
        num_prototypes: k, at least 1.

    Returns:
        For each video ``(min(k, M), S)`` float32, L2-normalised.
    """
    if num_prototypes < 1:
        raise ValueError(f'num_prototypes is {num_prototypes}; it must be at least 1')
    chosen: list[np.ndarray] = [np.empty(0)] * len(moments)
    by_count: dict[int, list[int]] = {}
    for index, rows in enumerate(moments):
        by_count.setdefault(len(rows), []).append(index)
    for count, members in by_count.items():
        if count <= num_prototypes:
            for index in members:
                chosen[index] = np.asarray(moments[index], np.float32)
            continue
        # Bound the size of (V, M, S).
        step = max(1, (1 << 24) // (count * np.shape(moments[members[0]])[1]))
        for start in range(0, len(members), step):
            part = members[start : start + step]
            stack = torch.from_numpy(np.stack([moments[i] for i in part]).astype(np.float32))
            found = _k_centres(stack, num_prototypes, refine_steps).numpy()
            for index, rows in zip(part, found):
                chosen[index] = rows
    return chosen


def _k_centres(moments: Tensor, num_prototypes: int, refine_steps: int) -> Tensor:
    """``(V, M, S)`` to ``(V, k, S)``, with ``k < M``; no (M, M): an hour has 20,000 moments."""
    videos = torch.arange(len(moments))

    def similarity(others: Tensor) -> Tensor:
        return (moments @ others[..., None])[..., 0]  # (V, M), to one vector (V, S) of each video

    seeds = [similarity(moments.sum(1)).argmax(1)]  # (V,)
    coverage = similarity(moments[videos, seeds[0]])  # (V, M), to the nearest seed
    for _ in range(num_prototypes - 1):
        seeds.append(coverage.argmin(1))
        coverage = torch.maximum(coverage, similarity(moments[videos, seeds[-1]]))
    prototypes = moments[videos[:, None], torch.stack(seeds, 1)]  # (V, k, S)
    for _ in range(refine_steps):
        nearest = (moments @ prototypes.transpose(1, 2)).argmax(-1)  # (V, M)
        member = F.one_hot(nearest, num_prototypes).to(moments.dtype)  # (V, M, k)
        # The old prototype, with next to no weight, stands in where a cluster lost its members.
        means = member.transpose(1, 2) @ moments + 1e-6 * prototypes
        prototypes = F.normalize(means, dim=-1)
    return prototypes
