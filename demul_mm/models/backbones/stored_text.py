"""Published features of sentences, in place of a language model."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from demul_mm.datasets.stores.base import check_features
from demul_mm.models.task_modules.tokenizer import check_sentences
from demul_mm.registry import DATASETS, FEATURE_STORES, MODELS, TASK_UTILS


@TASK_UTILS.register_module()
class StoredSentences:
    """Features of sentences from a store by query id, in the place of a tokenizer.

    The ids are those that data sets give their queries. So only sentences of these data sets can
    be read, to the letter: what changes sentences (``WordDrop``, ``RewordQueries``) cannot be used
    with it, and nobody can ask anything else. Use it with ``StoredTokens``.

    Args:
        store: config of the feature store; a row is a token, or the sentence as a whole.
        datasets: configs of all data sets whose sentences will be read.

    Raises:
        ValueError: the store lacks some of the queries.
    """

    def __init__(self, store: dict, datasets: dict | Sequence[dict]) -> None:
        self.store = FEATURE_STORES.build(store)
        self.query_ids: dict[str, str] = {}
        for config in [datasets] if isinstance(datasets, Mapping) else datasets:
            dataset = DATASETS.build({**config, 'pipeline': [], 'test_mode': True})
            for item in map(dataset.get_data_info, range(len(dataset))):
                self.query_ids.update(zip(item['queries'], item['query_ids']))
        missing = [i for i in self.query_ids.values() if i not in self.store]
        if missing or not self.query_ids:
            examples = ', '.join(missing[:3])
            raise ValueError(
                f'{self.store.path} has no features of {len(missing):,} of '
                f'{len(self.query_ids):,} queries ({examples}, ...); name= or key= of the store '
                'says how files and arrays are called'
            )

    def __call__(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """``Q`` sentences to features ``(Q, L, E)`` float32 and mask ``(Q, L)`` bool."""
        check_sentences(sentences)
        rows = [torch.from_numpy(self._load(sentence)) for sentence in sentences]
        mask = [torch.ones(len(row), dtype=torch.bool) for row in rows]
        return (
            nn.utils.rnn.pad_sequence(rows, batch_first=True),
            nn.utils.rnn.pad_sequence(mask, batch_first=True),
        )

    def _load(self, sentence: str) -> np.ndarray:
        query_id = self.query_ids.get(' '.join(sentence.split()))
        if query_id is None:
            raise ValueError(
                f'{sentence!r} is none of the {len(self.query_ids):,} sentences with features in '
                f'{self.store.path}; a model that is asked other ones needs a language model '
                '(TransformersLM)'
            )
        rows = np.atleast_2d(np.array(self.store.read(query_id), np.float32))
        if problem := check_features(rows, self.store.dim):
            raise ValueError(f'features of query {query_id!r} in {self.store.path}: {problem}')
        return rows


@MODELS.register_module()
class StoredTokens(nn.Module):
    """The token model for ``StoredSentences``, whose tokens are features already.

    Args:
        dim: their width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_dim = dim

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Features ``(Q, L, out_dim)`` and ``mask (Q, L)`` to the features."""
        if tokens.shape[-1] != self.out_dim:
            raise ValueError(
                f'sentences have features of {tokens.shape[-1]} values, the config says '
                f'dim={self.out_dim}; set dim of StoredTokens to that of the store'
            )
        return tokens
