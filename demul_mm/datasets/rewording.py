"""Words that can stand in for one another, learnt from nothing but the sentences of a split."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from demul_mm.stems import stem
from demul_mm.structures.names import as_names

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
START, END = '<', '>'

# Words that say little about what is seen, or whose exchange need not make a sentence false.
_LIGHT = """
a about after afterwards again all also am an and another any are area around as at be became
because been before began begin beginning begins being both bunch but by camera can clip continue
continued continues continuing could couple did different do does doing done each eventually ever
every few film finally finish for from get gets getting go goes going had has have having he her
here hers herself him himself his how i if in individual individuals is it its itself just lastly
lot lots make makes making many may me more most much multiple my next no not now object of often on
once one ones onto or other others our own part people person place plenty proceed proceeds really
same scene scenes screen see seems seen series several she should show showing shown shows so some
somebody someone something start started starting starts still such suddenly than that the their
them themselves then there these they thing things this those through time to together too tries try
trying use used uses using various very video view was we well were what when where which while who
whole whose will with would you your
"""
LIGHT = frozenset(WORD.findall(_LIGHT))

# What somebody does need not be a mistake about who it is.
_ROLES = 'athlete chef coach dancer gymnast host instructor player referee surfer teen adult'

# Groups of words of which none makes a sentence false that says another; with all their endings.
ALIKE = (
    f'man men guy male gentleman boy {_ROLES}',
    f'woman women lady female girl {_ROLES}',
    f'kid child children toddler boy girl baby {_ROLES}',
    'talk speak spoke say said tell discuss explain describe',
    'grab take took pick get grasp',
    'put place set lay laid',
    'throw threw toss hurl',
    'jump hop leap leapt',
    'walk step stroll',
    'look watch star stare gaze',
    'hold held carry',
    'shut close',
    'smile laugh grin',
    'sit sat seat',
    'stand stood',
    'run ran jog',
    'end stop finish',
    'couch sofa',
    'bike bicycle',
    'gray grey',
    'quick quickly fast rapid rapidly',
    'large big huge',
    'small little tiny',
    'cup mug glass',
    'stove cooker oven',
    'rug carpet mat',
    'picture photo image',
)


_MEANINGS: dict[str, frozenset[str]] = {}
for _group in ALIKE:
    for _root in map(stem, _group.split()):
        _MEANINGS[_root] = _MEANINGS.get(_root, frozenset()) | {_group}


def meanings(word: str) -> frozenset[str]:
    """Its stem and the groups of :data:`ALIKE` that it is in."""
    root = stem(word)
    return _MEANINGS.get(root, frozenset()) | {root}


class SimilarWords:
    """Content words of the same kind: those that occur between the same neighbours.

    Two words are as similar as the distributions of their left neighbours are, times the same on
    the right (Bhattacharyya coefficients over the most common words). It is a grammar learnt by
    counting: 'red' is like 'blue', 'throws' like 'lifts', 'up' like 'down'.

    Args:
        sentences: all that the split asks.
        min_count: rarer words neither are replaced nor replace.
        num_similar: most words known for each.
        min_similarity: the least of them, in [0, 1].
        num_contexts: so many of the most common words count as neighbours.
        max_words: so many of the most common words are compared with each other.
    """

    def __init__(
        self,
        sentences: Iterable[str],
        min_count: int = 5,
        num_similar: int = 20,
        min_similarity: float = 0.4,
        num_contexts: int = 300,
        max_words: int = 5000,
    ) -> None:
        tokens = [WORD.findall(sentence.lower()) for sentence in as_names(sentences, 'sentences')]
        counts = Counter(word for words in tokens for word in words)
        # The order of words that are equally common must not depend on the order of the sentences.
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        words = [
            w
            for w in ranked[:max_words]
            if counts[w] >= min_count and w not in LIGHT and w.isalpha()
        ]
        pairs = Counter(pair for row in tokens for pair in pairwise([START, *row, END]))
        self._pairs = frozenset(pairs)
        self._similar: dict[str, list[str]] = {}
        if words:
            vectors = _neighbours(words, [START, END, *ranked[:num_contexts]], pairs)
            self._rank(words, vectors, num_similar, min_similarity)

    def _rank(
        self, words: list[str], vectors: Sequence[np.ndarray], number: int, least: float
    ) -> None:
        for first in range(0, len(words), 256):
            rows = slice(first, first + 256)
            left, right = (side[rows] @ side.T for side in vectors)  # (256, W)
            similarity = left * right
            for row, word in enumerate(words[rows]):
                own, scores = meanings(word), similarity[row]
                best = np.flatnonzero(scores >= max(least, 1e-6))
                best = best[np.argsort(-scores[best], kind='stable')]
                near = [words[i] for i in best[: 3 * number]]
                self._similar[word] = [w for w in near if not own & meanings(w)][:number]

    def alternatives(self, word: str, left: str, right: str) -> list[str]:
        """Words of the kind of ``word`` that were seen after ``left`` and before ``right``.

        All in lower case; :data:`START` and :data:`END` stand for the borders of a sentence.
        """
        return [
            other
            for other in self._similar.get(word, ())
            if (left, other) in self._pairs and (other, right) in self._pairs
        ]


def _neighbours(
    words: list[str], contexts: list[str], pairs: Counter[tuple[str, str]]
) -> list[np.ndarray]:
    """Roots of the shares of left and right neighbours: two arrays ``(W, C)``."""
    row = {word: i for i, word in enumerate(words)}
    column = {word: i for i, word in enumerate(contexts)}
    left, right = (np.zeros((len(words), len(contexts)), np.float32) for _ in range(2))
    total = np.zeros((len(words), 1), np.float32)
    for (first, second), count in pairs.items():
        if second in row:
            total[row[second]] += count
            if first in column:
                left[row[second], column[first]] += count
        if first in row and second in column:
            right[row[first], column[second]] += count
    return [np.sqrt(side / np.maximum(total, 1)) for side in (left, right)]
