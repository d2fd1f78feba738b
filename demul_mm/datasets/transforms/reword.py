"""False variants of queries."""

from dataclasses import dataclass

import numpy as np
from mmengine.dataset import BaseDataset

from demul_mm.datasets.rewording import END, START, WORD, SimilarWords, meanings
from demul_mm.datasets.transforms.augment import check_range
from demul_mm.datasets.transforms.random import rng_of
from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
@dataclass(eq=False, repr=False)
class RewordQueries(Step):
    """Add to some queries a false variant: one content word is replaced by another of its kind.

    'A man throws the ball' may become 'A man throws the knife'. Words of one kind are those that
    occur between the same neighbours in the sentences of the data set (:class:`SimilarWords`). A
    word, or one that means nearly the same, that any sentence about the video has is never put in:
    the variant might be true. Put it after the steps that change queries, such as ``WordDrop``.

    Set keys: ``hard_queries``, for each query its variant, or '' where there is none.

    Args:
        prob: probability for each query, in [0, 1].
        min_count: words rarer than this in the data set are left alone.
        num_similar: a word is replaced by one of so many that are most similar to it.
        min_similarity: the least similarity of the two, in [0, 1].
    """

    prob: float = 0.5
    min_count: int = 5
    num_similar: int = 20
    min_similarity: float = 0.4

    def __post_init__(self) -> None:
        check_range('prob', self.prob, 0, 1)
        check_range('min_similarity', self.min_similarity, 0, 1)
        for name in ('min_count', 'num_similar'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name}={getattr(self, name)}: give at least 1')
        self._dataset: BaseDataset | None = None
        self._words: SimilarWords | None = None

    def attach(self, dataset: BaseDataset) -> None:
        """Learn the kinds of words from all sentences of the data set."""
        self._dataset = dataset
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        self._words = SimilarWords(
            (text for info in infos for text in info['queries']),
            self.min_count,
            self.num_similar,
            self.min_similarity,
        )

    def transform(self, results: dict) -> dict:
        if self._dataset is None:
            raise ValueError(
                'RewordQueries knows no words: put it into the pipeline of a data set '
                '(MomentDataset shows itself to its steps by attach)'
            )
        rng = rng_of(results)
        own = self._dataset.get_data_info(results['sample_idx'])['queries']
        said = {
            meaning
            for text in [*results['queries'], *own]
            for word in WORD.findall(text.lower())
            for meaning in meanings(word)
        }
        variants = [
            self._variant(text, said, rng) if rng.random() < self.prob else ''
            for text in results['queries']
        ]
        return {**results, 'hard_queries': variants}

    def _variant(self, text: str, said: set[str], rng: np.random.Generator) -> str:
        assert self._words is not None
        found = list(WORD.finditer(text))
        words = [START, *(match.group().lower() for match in found), END]
        for number in rng.permutation(len(found)):
            left, word, right = words[number : number + 3]
            options = [
                other
                for other in self._words.alternatives(word, left, right)
                if not meanings(other) & said
            ]
            if options:
                match, other = found[number], options[rng.integers(len(options))]
                if match.group()[0].isupper():
                    other = other.capitalize()
                return text[: match.start()] + other + text[match.end() :]
        return ''
