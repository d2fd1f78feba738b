"""Retrieval in the shared space: the query finds its moment, and its video."""

import torch
from torch import Tensor, nn

from demul_mm.models.task_modules.semantic_memory import SemanticMemory
from demul_mm.registry import MODELS


class RetrievalLoss(nn.Module):
    """Contrast queries with the moments and with the videos of a batch, both ways.

    A moment's own cells are positives; the other cells of its video are negatives where they do not
    touch it, and so are all cells of other videos and the memory's moments, as far as their
    captions describe something else.

    Args:
        contrast: config of the contrast used for all three.
    """

    def __init__(self, contrast: dict | None = None) -> None:
        super().__init__()
        self.contrast = MODELS.build(contrast or dict(type='MultiPositiveInfoNCE'))

    def forward(
        self,
        cells: Tensor,
        videos: Tensor,
        owner: Tensor,
        positive: Tensor,
        counted: Tensor,
        cell_mask: Tensor,
        meaning: Tensor,
        query: Tensor,
        moment: Tensor,
        same: Tensor,
        memory: SemanticMemory | None,
        false: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses of ``Q`` queries against ``V`` videos of ``M`` cells.

        ``moment``: a query against all cells; ``query``: its moment against all queries, those of
        its own video among them; ``video``: queries against videos, and videos against queries.

        Args:
            cells: ``(Q, V, M)`` cosines.
            videos: ``(Q, V)`` similarity of query and video.
            owner: ``(Q,)`` the video of each query.
            positive: ``(Q, M)`` the query's cells in its own video.
            counted: ``(Q, M)`` the cells of its own video that are positive or clearly negative.
            cell_mask: ``(V, M)``.
            meaning: ``(Q, E)`` caption vectors.
            query: ``(Q, S)`` shared vectors.
            moment: ``(Q, S)`` unit vectors of the queries' moments.
            same: ``(Q, Q)`` queries that tell of one moment.
            memory: pairs of earlier batches, or None.
            false: ``(H, S)`` shared vectors of queries that are true of no moment here, such as
                reworded ones: further negatives of every moment.
        """
        num, count, size = cells.shape
        mine = torch.nn.functional.one_hot(owner, count).bool()  # (Q, V)
        # A query's own video tells of its event, but the cells apart from it do not.
        soft = self._soft_videos(meaning, owner, count, memory).masked_fill(mine, 0)  # (Q, V)
        mask = torch.where(mine[..., None], counted[:, None], cell_mask[None])
        hit = (mine[..., None] & positive[:, None]).flatten(1)
        similarity, mask = cells.flatten(1), mask.flatten(1)
        soft_cells = soft[..., None].expand(-1, -1, size).flatten(1)
        if memory is not None:
            kept = memory.mask[None].expand(num, -1)
            # A copy: the memory is written to before the backward pass.
            similarity = torch.cat([similarity, query @ memory.moments.clone().T], 1)
            mask = torch.cat([mask, kept], 1)
            hit = torch.cat([hit, torch.zeros_like(kept)], 1)
            soft_cells = torch.cat([soft_cells, memory.soft_label(meaning, memory.captions)], 1)
        every = torch.ones_like(mine)
        forward = self.contrast(videos, mine, every, soft)
        backward = self.contrast(videos.T, mine.T, every.T, soft.T)
        back = self._moments_to_queries(moment, query, same, meaning, memory, false)
        return dict(
            moment=self.contrast(similarity, hit, mask, soft_cells),
            query=back,
            video=(forward + backward) / 2,
        )

    def _moments_to_queries(
        self,
        moment: Tensor,
        query: Tensor,
        same: Tensor,
        meaning: Tensor,
        memory: SemanticMemory | None,
        false: Tensor | None,
    ) -> Tensor:
        """Each query's moment against all queries, and against the false ones."""
        similarity = moment @ query.T  # (Q, Q)
        soft = torch.zeros_like(similarity)
        if memory is not None:
            soft = memory.soft_label(meaning, meaning)
        if false is not None:
            # They are meant to be alike and yet false, so similarity excuses none of them.
            similarity = torch.cat([similarity, moment @ false.T], 1)  # (Q, Q + H)
            same, soft = (nn.functional.pad(t, (0, len(false))) for t in (same, soft))
        return self.contrast(similarity, same, torch.ones_like(same), soft)

    @staticmethod
    def _soft_videos(
        meaning: Tensor, owner: Tensor, count: int, memory: SemanticMemory | None
    ) -> Tensor:
        """``(Q, V)``: the best soft label between a query and the captions of a video."""
        soft = meaning.new_zeros(len(meaning), count)
        if memory is None:
            return soft
        pairs = memory.soft_label(meaning, meaning)  # (Q, Q)
        return soft.scatter_reduce(1, owner[None].expand_as(pairs), pairs, 'amax')
