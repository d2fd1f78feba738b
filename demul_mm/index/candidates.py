"""From the nearest prototypes to candidate videos."""

import numpy as np


def first_of_each_video(
    owners: np.ndarray, scores: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best distinct videos of one query's prototype hits.

    Args:
        owners: ``(H,)`` ordinal of each hit's video, -1 for no hit; in any order.
        scores: ``(H,)``.
        depth: how many videos.

    Returns:
        Ordinals and scores of at most ``depth`` videos, best first, equal scores by ordinal.
    """
    valid = owners >= 0
    owners, scores = owners[valid], scores[valid]
    order = np.lexsort((owners, -scores))
    _, first = np.unique(owners[order], return_index=True)
    best = order[np.sort(first)[:depth]]
    return owners[best], scores[best]
