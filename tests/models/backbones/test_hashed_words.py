"""Which words a text has."""

import pytest
import torch

from demul_mm.models.backbones import HashedWords
from demul_mm.models.task_modules import TransformersTokenizer
from demul_mm.registry import MODELS


@pytest.fixture(scope='module')
def words() -> HashedWords:
    return HashedWords()


def buckets(words: HashedWords, text: str) -> list[int]:
    return words.of(*TransformersTokenizer()([text]))[0].tolist()


def test_forms_of_a_word_are_one_word(words: HashedWords) -> None:
    for forms in ('onion onions', 'add added adding', 'boil boils boiled'):
        assert len({*buckets(words, forms)} - {-1}) == 1
    assert len({*buckets(words, 'onion salt water pan')} - {-1}) == 4


def test_punctuation_and_padding_are_no_words(words: HashedWords) -> None:
    assert buckets(words, '... ?!') == [-1] * 7  # [CLS] and [SEP] too
    ids, mask = TransformersTokenizer()(['salt', 'salt the soup'])
    found = words.of(ids, mask)
    assert (found[~mask] == -1).all()
    assert found[0, 1] == found[1, 1]
    assert not words(ids, mask)[found < 0].any()
    torch.testing.assert_close(words(ids, mask).argmax(-1)[found >= 0], found[found >= 0])


def test_the_most_common_words_never_meet(words: HashedWords) -> None:
    first = {}
    for piece, bucket in enumerate(words.buckets[1996 : 1996 + words.out_dim].tolist()):
        first.setdefault(bucket, []).append(piece)
    plain = HashedWords(dim=40_000).buckets[1996 : 1996 + words.out_dim]  # a bucket a stem
    for pieces in (pieces for bucket, pieces in first.items() if bucket >= 0):
        own = {int(plain[piece]) for piece in pieces}
        assert len({stem for stem in own if stem >= 1996}) <= 1


def test_a_number_of_buckets_that_makes_no_bytes_is_refused() -> None:
    for dim in (0, 12):
        with pytest.raises(ValueError, match=f'dim is {dim}; give a multiple of 8'):
            MODELS.build(dict(type='HashedWords', dim=dim))
