"""How much of a test sentence training has seen.

Content words are those that scikit-learn's English list of stop words lacks, by their stems
(Snowball's). Two of them that follow each other, whatever stop words lie between, are a
pair: 'a person opens the door' has (person, open) and (open, door). No parser is needed, and the
rule is the same for every data set.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from demul_mm.stems import UNSPACED, stem

if TYPE_CHECKING:
    from demul_mm.evaluation.predictions import PredictionEntry

_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+(?:'[^\W\d_]+)?")
# From what training has seen least of to what it has seen as it is.
GROUPS = ('a new word', 'a new pair of words', 'a new sentence of known pairs', 'a known sentence')


@cache
def _stop_words() -> frozenset[str]:
    try:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
    except ImportError as error:
        hint = "novelty of words needs scikit-learn: pip install 'demul-mm[analysis]'"
        raise ImportError(hint) from error
    return ENGLISH_STOP_WORDS


def content_words(sentence: str) -> list[str]:
    """Stems of the content words of a sentence, in their order."""
    stop_words = _stop_words()
    words = _WORD.findall(unicodedata.normalize('NFKC', sentence).lower())
    return [stem(word) for word in words if word not in stop_words]


class KnownSentences:
    """What the sentences of a training set are made of.

    Args:
        sentences: all that the training set asks.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences: set[tuple[str, ...]] = set()
        self.words: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()
        for sentence in set(sentences):
            words = content_words(sentence)
            self.sentences.add(tuple(words))
            self.words.update(words)
            self.pairs.update(pairwise(words))

    def group(self, sentence: str) -> str:
        """Which of ``GROUPS`` a sentence is in: the first that holds."""
        words = content_words(sentence)
        if not self.words.issuperset(words):
            return GROUPS[0]
        if not self.pairs.issuperset(pairwise(words)):
            return GROUPS[1]
        return GROUPS[3 if tuple(words) in self.sentences else 2]

    def divide(self, entries: Iterable['PredictionEntry']) -> dict[str, list['PredictionEntry']]:
        """Entries by group, all groups in their order, also those that are empty."""
        found: dict[str, list[PredictionEntry]] = {name: [] for name in GROUPS}
        for entry in entries:
            found[self.group(entry['query'])].append(entry)
        return found
