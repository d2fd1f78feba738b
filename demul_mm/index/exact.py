"""The reference: every moment of every video is scored."""

import numpy as np

from demul_mm.index.base import MomentIndex
from demul_mm.index.search import Level1Query, exhaustive_candidates
from demul_mm.registry import INDEXES


@INDEXES.register_module()
class ExactIndex(MomentIndex):
    """Exhaustive search, block by block: it builds nothing, and is as fast as the disk.

    Both modes return the same. Use it for small corpora and to check the others.
    """

    def _candidates(self, asked: Level1Query) -> list[np.ndarray]:
        return exhaustive_candidates(
            asked.snapshot, asked.queries, asked.depth, asked.allowed, asked.bonus
        )
