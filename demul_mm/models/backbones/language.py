"""The language encoder: features of words, of phrases and of the whole sentence."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import Dropout, masked_softmax
from demul_mm.registry import MODELS
from demul_mm.structures.counts import check_count


class Language(NamedTuple):
    """Output of the language encoder for ``Q`` sentences."""

    words: Tensor  # (Q, L, D)
    word_mask: Tensor  # (Q, L) without the words that were dropped
    phrases: Tensor  # (Q, K, D)
    sentence: Tensor  # (Q, D)
    phrase_attention: Tensor  # (Q, K, L)
    meaning: Tensor  # (Q, E) unit mean of all token features, without gradient


@MODELS.register_module()
class LanguageEncoder(nn.Module):
    """Words, phrases and the sentence, from token features.

    Phrases are gathered by ``K`` slot queries over n-gram convolutions of the words; a loss keeps
    the slots' attention apart. The sentence is an attention pool over words and phrases.

    Args:
        lm: config of the token model; it has ``out_dim`` and maps ``(ids, mask)`` to features.
        dim: model width ``D``.
        num_phrases: slots ``K``, at least 1.
        ngrams: widths of the convolutions, odd.
        dropout: rate on the projected words.
        word_drop: share of the words that are left out of each sentence in training, after the
            token model has read it whole: so its features can still be kept from epoch to epoch.
            The first token, which stands for the sentence, stays.
    """

    def __init__(
        self,
        lm: dict,
        dim: int = 128,
        num_phrases: int = 4,
        ngrams: tuple[int, ...] = (1, 3, 5),
        dropout: float = 0.1,
        word_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if any(n % 2 == 0 for n in ngrams):
            raise ValueError(f'ngrams are {ngrams}; each must be odd, to have a word in the middle')
        check_count('num_phrases', num_phrases)
        self.lm = MODELS.build(lm)
        self.meaning_dim: int = getattr(self.lm, 'meaning_dim', self.lm.out_dim)
        self.project = nn.Sequential(
            nn.LayerNorm(self.lm.out_dim), nn.Linear(self.lm.out_dim, dim), nn.GELU()
        )
        self.dropout = Dropout(dropout)
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, n, padding=n // 2) for n in ngrams)
        self.word_norm = nn.LayerNorm(dim)
        self.slots = nn.Parameter(torch.randn(num_phrases, dim))
        self.slot_key = nn.Linear(dim, dim, bias=False)  # a softmax ignores a bias
        self.slot_value = nn.Linear(dim, dim)
        self.phrase_norm = nn.LayerNorm(dim)
        self.pool = nn.Linear(dim, 1, bias=False)
        self.sentence = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.scale = dim**-0.5
        self.word_drop = word_drop

    def forward(self, ids: Tensor, mask: Tensor) -> Language:
        """Encode ``Q`` tokenised sentences.

        Args:
            ids: ``(Q, L)`` token ids.
            mask: ``(Q, L)``.
        """
        tokens = self.lm(ids, mask)  # (Q, L, E)
        # Of the last layer alone, where the token model gives several.
        features = tokens[..., -self.meaning_dim :].detach()
        meaning = F.normalize((features * mask[..., None]).sum(1).float(), dim=-1)
        if self.training and self.word_drop:
            kept = torch.rand(mask.shape, device=mask.device) >= self.word_drop
            mask = mask & (kept | (torch.arange(mask.shape[1], device=mask.device) == 0))
        keep = mask[..., None]
        x = self.dropout(self.project(tokens)) * keep  # (Q, L, D)
        grams = torch.stack([conv(x.transpose(1, 2)) for conv in self.convs]).amax(0)
        grams = F.gelu(grams.transpose(1, 2))  # (Q, L, D) the best n-gram around each word
        words = self.word_norm(x + grams) * keep
        logits = torch.einsum('kd,qld->qkl', self.slots * self.scale, self.slot_key(words))
        attention = masked_softmax(logits.float(), mask[:, None]).to(words.dtype)  # (Q, K, L)
        phrases = self.phrase_norm(attention @ self.slot_value(words))  # (Q, K, D)
        units = torch.cat([words, phrases], 1)
        unit_mask = torch.cat([mask, mask.new_ones(phrases.shape[:2])], 1)
        weight = masked_softmax(self.pool(units).squeeze(-1).float(), unit_mask).to(words.dtype)
        sentence = self.sentence(torch.einsum('qu,qud->qd', weight, units))
        return Language(words, mask, phrases, sentence, attention, meaning)
