"""Reading a video with a query in mind: a mixture of its streams, then where the moment is."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from demul_mm.models.layers import Dropout, masked_softmax


class StreamMixture(nn.Module):
    """The query says how much each stream of a video counts.

    Args:
        dim: width ``D``.
        num_streams: ``S``.
    """

    def __init__(self, dim: int, num_streams: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, num_streams)

    def weights(self, query: Tensor, present: Tensor) -> Tensor:
        """Of queries ``(R, D)``, where ``present (R, T, S)``: sums to 1 over streams, or is 0."""
        logits = self.gate(query)[:, None].expand(present.shape)
        return masked_softmax(logits, present)

    def forward(self, query: Tensor, streams: Tensor, present: Tensor) -> Tensor:
        """``(R, D)``, ``(R, T, S, D)``, ``(R, T, S)`` to ``(R, T, D)``."""
        return (self.weights(query, present)[..., None] * streams).sum(2)


class BorderReader(nn.Module):
    """Clips read the words, and two recurrent nets tell start and end, the second after the first.

    Args:
        dim: width ``D``, even.
        dropout: rate on what the recurrent nets read.
    """

    def __init__(self, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.of_clip = nn.Linear(dim, 1, bias=False)
        self.of_word = nn.Linear(dim, 1, bias=False)
        self.of_both = nn.Parameter(torch.full((dim,), dim**-0.5))
        self.fuse = nn.Sequential(nn.Linear(4 * dim, dim), nn.ReLU(), Dropout(dropout))
        self.first = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)
        self.second = nn.GRU(2 * dim, dim // 2, batch_first=True, bidirectional=True)
        self.start = nn.Linear(2 * dim, 1, bias=False)  # a softmax ignores a bias
        self.end = nn.Linear(2 * dim, 1, bias=False)

    def forward(
        self, x: Tensor, mask: Tensor, words: Tensor, word_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits ``(R, T)`` of start and end.

        Args:
            x: ``(R, T, D)``.
            mask: ``(R, T)``, True first.
            words: ``(R, L, D)``.
            word_mask: ``(R, L)``.
        """
        # (R, T, L) what a clip, a word and their product say of how they belong together
        alike = self.of_clip(x) + self.of_word(words).transpose(1, 2)
        alike = alike + (x * self.of_both) @ words.transpose(1, 2)
        read = masked_softmax(alike, word_mask[:, None]) @ words  # (R, T, D)
        wanted = masked_softmax(alike.masked_fill(~word_mask[:, None], -1e4).amax(-1), mask)
        told = (wanted[:, None] @ x).expand_as(x)  # the video as the query sees it
        fused = self.fuse(torch.cat([x, read, x * read, x * told], -1))
        lengths = mask.sum(1)
        begun = recur(self.first, fused, lengths)
        ended = recur(self.second, torch.cat([fused, begun], -1), lengths)
        start, end = (
            net(torch.cat([fused, state], -1)).squeeze(-1)
            for net, state in ((self.start, begun), (self.end, ended))
        )
        return start.masked_fill(~mask, -1e4), end.masked_fill(~mask, -1e4)


def recur(net: nn.GRU, x: Tensor, lengths: Tensor) -> Tensor:
    """Both directions of a recurrent net over rows ``(R, T, d)`` of these lengths ``(R,)``."""
    packed = pack_padded_sequence(
        x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
    )
    return pad_packed_sequence(net(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def shared_log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over all clips of all videos of a query: ``(Q, N, T)``."""
    return F.log_softmax(logits.flatten(1), -1).view_as(logits)
