"""From sentences to token ids."""

import pytest
import torch

from demul_mm.models.task_modules import TransformersTokenizer


@pytest.fixture(scope='module')
def tokenizer() -> TransformersTokenizer:
    return TransformersTokenizer('minilm', max_length=8)


def test_ids_and_mask(tokenizer: TransformersTokenizer):
    ids, mask = tokenizer(['a red disc', 'it spins'])
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [5, 4]  # with the tokens at both ends
    assert not ids[~mask].any()
    assert torch.equal(tokenizer(['It spins'])[0][0], ids[1, :4])


def test_long_sentences_are_cut(tokenizer: TransformersTokenizer):
    ids, mask = tokenizer(['one two three four five six seven eight nine ten'])
    assert ids.shape == (1, 8)
    assert bool(mask.all())


@pytest.mark.parametrize('sentence', ['', '   ', '\t\n'])
def test_an_empty_sentence_is_refused(tokenizer: TransformersTokenizer, sentence: str):
    with pytest.raises(ValueError, match='query 1 is empty: give a sentence'):
        tokenizer(['a red disc', sentence])


def test_no_sentence_is_refused(tokenizer: TransformersTokenizer):
    with pytest.raises(ValueError, match='no query'):
        tokenizer([])


def test_a_string_is_not_a_list_of_sentences(tokenizer: TransformersTokenizer):
    with pytest.raises(TypeError, match="give a list of sentences, as \\['a red disc'\\]"):
        tokenizer('a red disc')
