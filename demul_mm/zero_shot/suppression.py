"""Greedy suppression of overlapping windows, without what models need to be imported."""

import numpy as np
import torch
from torch import Tensor

from demul_mm.structures.spans import span_iou


class Greedy:
    """Keep the best, drop what overlaps it, and so on; for ``MomentIndex.search(nms=...)``.

    As ``MomentNMS(overlap, most)``, whose import takes seconds.

    Args:
        overlap: IoU with a kept moment above which another is dropped.
        most: how many are kept.
    """

    def __init__(self, overlap: float, most: int) -> None:
        self.overlap, self.most = overlap, most

    def __call__(
        self, spans: Tensor, scores: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kept spans, scores, validity and places of ``(R, M, 2)``, ``(R, M)``, ``(R, M)``."""
        kept = [self._of_one(*row) for row in zip(spans, torch.where(mask, scores, -torch.inf))]
        width = max(map(len, kept))
        places = torch.zeros(len(kept), width, dtype=torch.long)
        valid = torch.zeros(len(kept), width, dtype=torch.bool)
        for row, found in enumerate(kept):
            places[row, : len(found)] = torch.tensor(found)
            valid[row, : len(found)] = True
        best = spans.gather(1, places.unsqueeze(-1).expand(-1, -1, 2))
        return best, scores.gather(1, places), valid, places

    def _of_one(self, spans: Tensor, left: Tensor) -> list[int]:
        kept: list[int] = []
        while len(kept) < self.most and left.numel() and left.max() > -torch.inf:
            best = int(left.argmax())
            kept.append(best)
            left = left.masked_fill(span_iou(spans[best], spans) > self.overlap, -torch.inf)
            left[best] = -torch.inf
        return kept


def keep_best(spans: np.ndarray, scores: np.ndarray, overlap: float, most: int) -> np.ndarray:
    """Places of the moments ``(M, 2)`` that are kept, best first."""
    everything = torch.ones(1, len(scores), dtype=torch.bool)
    found = Greedy(overlap, most)(
        torch.as_tensor(spans, dtype=torch.float64)[None],
        torch.as_tensor(scores, dtype=torch.float64)[None],
        everything,
    )
    return found[3][0].numpy()
