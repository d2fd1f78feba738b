"""Sentences as weighted bags of words."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import torch
from torch import Tensor


class Vocabulary:
    """The words of some sentences.

    A word weighs the logarithm of how rare it is: "the" next to nothing, "hoop" a lot.

    Args:
        sentences: Of the training split.
        min_count: Words in fewer sentences are dropped.

    Raises:
        ValueError: no word is left. Words are what spaces and marks divide, so that a language
            without spaces has few that come again.
    """

    def __init__(self, sentences: list[str], min_count: int = 5) -> None:
        count = Counter(w for s in sentences for w in set(_words(s)))
        least = min(min_count, len(sentences))
        self.words = sorted(w for w, n in count.items() if n >= least)
        if not self.words:
            raise ValueError(
                f'no word is in {least} of the {len(sentences)} sentences that are to teach words, '
                f'as "{" ".join(sentences[:1])}": give more of them, with spaces between words'
            )
        self.index = {w: i for i, w in enumerate(self.words)}
        share = np.array([count[w] for w in self.words]) / len(sentences)
        self.weight = torch.from_numpy(-np.log(share)).float()

    def __len__(self) -> int:
        return len(self.words)

    def __call__(self, sentences: list[str]) -> Tensor:
        """Bags (Q, W) of unit length (zero for a sentence without a known word)."""
        bags = torch.zeros(len(sentences), len(self.words))
        for row, sentence in enumerate(sentences):
            for word in _words(sentence):
                if word in self.index:
                    bags[row, self.index[word]] = 1
        return torch.nn.functional.normalize(bags * self.weight, dim=1)


def _words(sentence: str) -> list[str]:
    return re.findall(r'[^\W\d_]+', sentence.lower())
