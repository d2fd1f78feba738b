"""From sentences to words, and from words to numbers that need no vocabulary."""

import functools
import hashlib
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from demul_mm.models.task_modules.tokenizer import check_sentences
from demul_mm.registry import TASK_UTILS

# As GloVe was trained: "the man's" is "the man 's".
WORD = re.compile(r"'\w+|\w+")


@functools.lru_cache(maxsize=1 << 20)
def word_id(word: str) -> int:
    """A number in [1, 2**63) that stands for a word, the same everywhere."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little') % (2**63 - 1) + 1


@TASK_UTILS.register_module()
class WordTokenizer:
    """Words in lower case, each known by a hash of itself: the tokenizer of ``WordVectors``.

    Args:
        max_length: words kept of a sentence.
    """

    def __init__(self, max_length: int = 64) -> None:
        if max_length < 1:
            raise ValueError(f'max_length={max_length}: give at least 1')
        self.max_length = max_length

    def __call__(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """``Q`` sentences to ids ``(Q, L)`` int64 (0: padding) and mask ``(Q, L)`` bool."""
        check_sentences(sentences)
        rows = [[word_id(word) for word in self.words(sentence)] for sentence in sentences]
        ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        return ids, ids > 0

    def words(self, sentence: str) -> list[str]:
        """The words that stand for a sentence; one of signs alone is one word."""
        return self._all_words(sentence)[: self.max_length]

    def cut(self, sentences: Sequence[str]) -> list[str]:
        """Those of the sentences whose ends are past ``max_length`` and not read."""
        return [text for text in sentences if len(self._all_words(text)) > self.max_length]

    @staticmethod
    def _all_words(sentence: str) -> list[str]:
        return WORD.findall(sentence.lower()) or [sentence.lower()]
