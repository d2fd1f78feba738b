"""The semantic memory: captions and moments of the train split, for transfer across videos."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor, nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class SemanticMemory(nn.Module):
    """A ring of (caption, moment) pairs of the train split.

    Captions are compared by the language model's own sentence vectors. Neighbours of a query lend
    soft labels in training (the same event in another video is not a negative) and, when asked, a
    pseudo-positive at test.

    Args:
        caption_dim: width ``E`` of the captions' vectors.
        shared_dim: width ``S`` of the moments.
        size: pairs kept; the oldest leave.
        low: caption similarity up to which another event is a full negative.
        high: caption similarity from which it is none.
    """

    captions: Tensor
    moments: Tensor
    count: Tensor

    def __init__(
        self,
        caption_dim: int = 384,
        shared_dim: int = 128,
        size: int = 1024,
        low: float = 0.6,
        high: float = 0.9,
    ) -> None:
        super().__init__()
        self.size = size
        self.low = low
        self.high = high
        self.register_buffer('captions', torch.zeros(size, caption_dim))
        self.register_buffer('moments', torch.zeros(size, shared_dim))
        self.register_buffer('count', torch.tensor(0))

    @property
    def mask(self) -> Tensor:
        """``(size,)``: True where a pair is kept."""
        return torch.arange(self.size, device=self.count.device) < self.count

    def soft_label(self, a: Tensor, b: Tensor) -> Tensor:
        """How likely two captions tell of one event: ``a (Q, E)``, ``b (N, E)`` to ``(Q, N)``."""
        return ((a @ b.T - self.low) / (self.high - self.low)).clamp(0, 1)

    @torch.no_grad()
    def push(self, captions: Tensor, moments: Tensor, valid: Tensor | None = None) -> None:
        """Add ``(N, E)`` captions with their ``(N, S)`` moments, those of all ranks together.

        Under DDP every rank keeps the same pairs, the ranks' one after the other; ``N`` may differ.

        Args:
            captions: unit vectors.
            moments: unit vectors.
            valid: ``(N,)`` bool, which of them are added; None: all.
        """
        if valid is None:
            valid = captions.new_ones(len(captions))
        ranks = get_world_size()
        most = self.size // ranks
        captions, moments, valid = captions[-most:], moments[-most:], valid.float()[-most:]
        if ranks > 1:
            padding = most - len(valid)
            captions, moments = (F.pad(t, (0, 0, 0, padding)) for t in (captions, moments))
            valid = F.pad(valid, (0, padding))
            captions, moments, valid = (
                torch.cat(all_gather(t.contiguous())) for t in (captions, moments, valid)
            )
        order = valid.argsort(descending=True, stable=True)  # padding last
        at = (self.count + torch.arange(len(order), device=order.device)) % self.size
        for buffer, rows in ((self.captions, captions), (self.moments, moments)):
            rows = torch.where(valid[order, None] > 0, rows[order].to(buffer.dtype), buffer[at])
            buffer.index_copy_(0, at, rows)
        self.count += valid.sum().to(self.count.dtype)

    def pseudo_positive(self, query: Tensor, caption: Tensor, gate: float = 0.2) -> Tensor:
        """Pull queries towards the moments whose captions resemble theirs.

        Args:
            query: ``(Q, S)`` unit vectors.
            caption: ``(Q, E)`` unit vectors of the same queries.
            gate: weight of the neighbours.

        Returns:
            ``(Q, S)`` unit vectors; the query itself where nothing in the memory resembles it.
        """
        weight = self.soft_label(caption, self.captions) * self.mask
        total = weight.sum(1, keepdim=True)
        neighbour = weight @ self.moments / total.clamp(min=1e-6)
        return F.normalize(query + gate * total.clamp(max=1) * neighbour, dim=-1)
