"""A space that a stream and the sentences share before any training."""

import math

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class AlignedStream(nn.Module):
    """Widens the shared space by the one in which a stream's features already meet sentences.

    Where one encoder made the features of a stream and the meaning of the sentences (captions or
    speech through the sentence encoder, frames and queries through CLIP), their cosine finds
    moments without any training, and a few thousand queries cannot teach it anew. A moment is the
    mean of its clips there. Both sides lose their mean over the training set first, which all of
    a modality's vectors have in common.

    Args:
        stream: name of the stream.
        in_dim: width ``E`` of its features and of the sentences' meaning.
        share: part of the cosine that this space has at first, in (0, 1); it is trained.
        words: config of the token model whose mean over a sentence meets the stream, as
            ``BareWords``; None for the language encoder's meaning.
    """

    clip_mean: Tensor
    query_mean: Tensor
    seen: Tensor

    def __init__(
        self, stream: str, in_dim: int, share: float = 0.5, words: dict | None = None
    ) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f'share is {share}; it must be in (0, 1)')
        self.stream = stream
        self.words = MODELS.build(words) if words else None
        self.logit = nn.Parameter(torch.tensor(math.log(share / (1 - share))))
        self.register_buffer('clip_mean', torch.zeros(in_dim))
        self.register_buffer('query_mean', torch.zeros(in_dim))
        self.register_buffer('seen', torch.zeros(2))  # batches that the two means are of

    @property
    def width(self) -> int:
        """By how much it widens the shared space."""
        return len(self.clip_mean) + 1

    def clips(self, x: Tensor, mask: Tensor) -> Tensor:
        """Clips ``(V, T, E)`` of length one, without their mean; zero outside ``mask (V, T)``.

        Clips of zeros (where nothing is said) do not count and stay zero. ``E`` is 0 where no video
        of a batch has the stream.
        """
        if not x.shape[-1]:
            x = x.new_zeros(*x.shape[:-1], len(self.clip_mean))
        return self._centre(x, mask & (x != 0).any(-1), self.clip_mean, 0)

    def queries(self, meaning: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """``Q`` sentences likewise, by their ``meaning (Q, E)`` or by their words.

        Args:
            meaning: ``(Q, E)`` of the language encoder.
            ids: ``(Q, L)`` token ids.
            mask: ``(Q, L)``.
        """
        if self.words is not None:
            meaning = self.words(ids, mask).sum(1)
        return self._centre(meaning, (meaning != 0).any(-1), self.query_mean, 1)

    def join(self, shared: Tensor, aligned: Tensor) -> Tensor:
        """Unit vectors ``shared (..., S)`` and ``aligned (..., E)`` to ``(..., S + E + 1)``.

        Unit vectors too, as an index wants them: the last value is what is missing of the length
        where ``aligned`` is zero, and it meets a zero of the query.
        """
        share = self.logit.sigmoid()
        unit = F.normalize(aligned, dim=-1)
        rest = (1 - unit.norm(dim=-1, keepdim=True)).round()
        parts = (shared * (1 - share).sqrt(), unit * share.sqrt(), rest * share.sqrt())
        return torch.cat(parts, -1)

    def split(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """What ``join`` was given, ``(..., S)`` and ``(..., E)``, each of length one or zero."""
        shared, aligned = joined[..., : -self.width].float(), joined[..., -self.width : -1].float()
        return F.normalize(shared, dim=-1), F.normalize(aligned, dim=-1)

    def _centre(self, x: Tensor, valid: Tensor, mean: Tensor, side: int) -> Tensor:
        keep = valid[..., None].float()
        unit = F.normalize(x.float(), dim=-1) * keep
        if self.training:
            with torch.no_grad():
                sums = torch.cat([unit.flatten(0, -2).sum(0), keep.sum()[None]])
                all_reduce(sums, op='sum')  # one mean for all ranks
                any_valid = (sums[-1] > 0).float()
                self.seen[side] += any_valid
                off = sums[:-1] / sums[-1].clamp(min=1) - mean
                mean += any_valid * off / self.seen[side].clamp(min=1)
        return (unit - mean) * keep
