"""Words as a language model knows them before it reads on."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils import logging

from demul_mm.models.backbones import BareWords
from demul_mm.models.necks import AlignedStream
from demul_mm.models.task_modules import TransformersTokenizer
from demul_mm.registry import MODELS

TEXTS = ['chop the onions', 'the onions, chop!', 'an onion', 'boil water', 'and so it is of the']


@pytest.fixture(scope='module')
def tokens() -> tuple[Tensor, Tensor]:
    return TransformersTokenizer()(TEXTS)


@pytest.fixture(scope='module')
def words() -> BareWords:
    return BareWords()


def test_the_order_and_frequent_words_do_not_count(
    words: BareWords, tokens: tuple[Tensor, Tensor]
) -> None:
    bags = F.normalize(words(*tokens).sum(1), dim=-1)
    cosine = bags @ bags.T
    torch.testing.assert_close(cosine[0, 1], torch.tensor(1.0))
    assert cosine[0, 2] > 0.4 > 0.2 > cosine[0, 3]  # onions are like an onion, not like water
    assert not bags[4].any()


def test_rare_words_weigh_more(words: BareWords) -> None:
    ids = TransformersTokenizer()(['water', 'saffron'])[0][:, 1]
    assert words.table[ids].norm(dim=-1).diff() > 0


def test_padding_says_nothing(words: BareWords, tokens: tuple[Tensor, Tensor]) -> None:
    ids, mask = tokens
    assert not words(ids, mask)[~mask].any()
    assert words(ids, mask).shape == (*ids.shape, words.out_dim)


def test_a_space_of_words_reads_them_instead_of_the_meaning(tokens: tuple[Tensor, Tensor]) -> None:
    space = AlignedStream('words', 384, words=dict(type='BareWords')).eval()
    one, other = (space.queries(torch.randn(len(TEXTS), 384), *tokens) for _ in range(2))
    torch.testing.assert_close(one, other)
    assert not one[4].any()  # nothing to compare
    assert not list(space.words.state_dict())  # the table is not in checkpoints


def test_other_vocabularies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        config = type('Config', (), {'vocab_size': 50265})

        def get_input_embeddings(self) -> torch.nn.Embedding:
            return torch.nn.Embedding(4, 2)

    monkeypatch.setattr('demul_mm.models.backbones.bare_words.load_quietly', lambda _: Other())
    with pytest.raises(ValueError, match=r"'other' has 50,265 word pieces; .*30,522"):
        MODELS.build(dict(type='BareWords', name='other'))


def test_progress_bars_stay_as_they_were() -> None:
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        MODELS.build(dict(type='BareWords'))
        assert not logging.is_progress_bar_enabled()
    finally:
        if before:
            logging.enable_progress_bar()
