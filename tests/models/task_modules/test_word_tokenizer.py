"""Words known by their hashes."""

import pytest
import torch

from demul_mm.models.task_modules import WordTokenizer
from demul_mm.models.task_modules.word_tokenizer import word_id


def test_ids_and_mask():
    ids, mask = WordTokenizer()(["The man's red disc!", 'it spins'])
    assert ids.dtype == torch.int64
    assert mask.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert ids[0].tolist() == [word_id(w) for w in ('the', 'man', "'s", 'red', 'disc')]
    assert not ids[~mask].any()
    assert torch.equal(WordTokenizer()(['IT  spins...'])[0][0], ids[1, :2])


def test_a_word_has_one_number_everywhere():
    assert word_id('disc') == 1698514531246839345
    words = [f'w{number}' for number in range(20_000)]
    assert len({word_id(word) for word in words}) == len(words)
    assert all(0 < word_id(word) < 2**63 for word in words)


def test_other_scripts_and_signs_are_words_too():
    ids, mask = WordTokenizer()(['Ein Hund läuft über 3 Brücken', '狗 跑', '?!'])
    assert mask.sum(1).tolist() == [6, 2, 1]
    assert ids[2, 0] == word_id('?!')


def test_long_sentences_are_cut_and_mistakes_refused():
    assert WordTokenizer(max_length=3)(['one two three four'])[0].shape == (1, 3)
    with pytest.raises(ValueError, match='query 1 is empty'):
        WordTokenizer()(['a', ' '])
    with pytest.raises(ValueError, match='no query'):
        WordTokenizer()([])
    with pytest.raises(TypeError, match='got one string'):
        WordTokenizer()('a dog')
    with pytest.raises(ValueError, match='max_length=0'):
        WordTokenizer(max_length=0)
