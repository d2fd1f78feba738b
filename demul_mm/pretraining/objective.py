"""Contrast between sentences and the clips they describe."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from demul_mm.models.backbones.clip_cnn import best_response


class SentenceMatcher(nn.Module):
    """Rates how well a clip fits a sentence: by the place in it that fits best.

    Since one place must account for the whole sentence, its words are bound to one thing; and
    since a sentence is the sum of its words, combinations that no training sentence had are rated
    as well.

    Args:
        num_words: W, size of the vocabulary.
        embed_dim: E, width of a cell.
    """

    def __init__(self, num_words: int, embed_dim: int) -> None:
        super().__init__()
        self.embed = nn.Linear(num_words, embed_dim)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, cells: Tensor, bags: Tensor) -> Tensor:
        """Cells (B, E, S) of unit length and bags (Q, W) to logits (Q, B)."""
        scale = self.log_scale.exp()
        return scale * best_response(self.embed(bags), cells, scale)


def contrastive_loss(logits: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
    """Each positive pair against all negatives of its sentence, and sentences against each other.

    Args:
        logits: (Q, B), sentences by clips.
        positive: (Q, B) bool, the clip lies in the sentence's span.
        allowed: (Q, B) bool, pairs that may be contrasted, e.g. those within a video.
    """
    low = torch.finfo(logits.dtype).min / 2
    negatives = logits.masked_fill(positive | ~allowed, low).logsumexp(1, keepdim=True)
    by_clip = torch.logaddexp(logits, negatives) - logits
    all_sentences = logits.masked_fill(~allowed, low).logsumexp(0)
    right_sentences = logits.masked_fill(~positive, low).logsumexp(0)
    by_sentence = all_sentences - right_sentences
    described = positive.any(0)
    zero = logits.sum() * 0
    if not described.any():
        return zero
    return by_clip[positive].mean() + 0.5 * by_sentence[described].mean()
