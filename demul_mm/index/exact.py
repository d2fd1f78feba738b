"""The reference: every moment of every video is scored."""

from typing import Any

import numpy as np
from torch import Tensor

from demul_mm.index.base import MomentIndex
from demul_mm.index.search import exhaustive_candidates
from demul_mm.index.snapshot import Snapshot
from demul_mm.registry import INDEXES


@INDEXES.register_module()
class ExactIndex(MomentIndex):
    """Block-wise exhaustive search, on the disk's own pace and without any structure to build.

    Both modes return the same. Use it for small corpora and to check the others.
    """

    def _candidates(
        self,
        snapshot: Snapshot,
        level1: None,
        queries: Tensor,
        depth: int,
        allowed: np.ndarray | None,
        options: dict[str, Any],
    ) -> list[np.ndarray]:
        if options:
            raise ValueError(f'ExactIndex has no search options; {sorted(options)} were given')
        mask = np.ones(snapshot.num_videos, bool) if allowed is None else allowed
        return exhaustive_candidates(snapshot, queries, depth, np.flatnonzero(mask))
