"""From sentences to token ids."""

import pytest
import torch
from mmengine.logging import MMLogger

from demul_mm.models.task_modules import TransformersTokenizer, WordTokenizer
from demul_mm.truncation import warn_cut


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


WORDS = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']


@pytest.mark.parametrize('kind', ['transformers', 'words'])
def test_sentences_that_are_cut_are_known(kind: str, tokenizer: TransformersTokenizer):
    # Of 8 tokens two stand at the ends of a sentence; of 8 words none.
    most, reader = (6, tokenizer) if kind == 'transformers' else (8, WordTokenizer(max_length=8))
    fits, cut = ' '.join(WORDS[:most]), ' '.join(WORDS[: most + 1])
    assert reader.cut([fits, cut, 'a dog', ' '.join(WORDS)]) == [cut, ' '.join(WORDS)]
    assert torch.equal(reader([cut])[0], reader([f'{cut} eleven'])[0])  # which is what is told
    assert reader.cut([]) == []


def test_one_line_says_how_many_are_cut(tokenizer: TransformersTokenizer, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        warn_cut(tokenizer, ['it spins', ' '.join(WORDS), ' '.join(WORDS[1:])], 'sentences of toy')
        warn_cut(tokenizer, ['it spins'], 'sentences of toy')
        warn_cut(object(), [' '.join(WORDS)], 'a tokenizer without a limit')
    finally:
        logger.removeHandler(caplog.handler)
    (record,) = caplog.records
    assert 'sentences of toy: 2 of 3 are longer than the 8 tokens' in record.message
