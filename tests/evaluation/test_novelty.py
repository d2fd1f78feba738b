"""Sentences are divided by what training has seen of them."""

import sys

import pytest

from demul_mm.evaluation import novelty
from demul_mm.evaluation.novelty import GROUPS, KnownSentences, content_words

pytest.importorskip('sklearn', reason="pip install 'demul-mm[analysis]'")

TRAINED = ['A person opens the door.', 'She closes a window', 'they sit at the table']


def test_content_words_are_stems_without_stop_words() -> None:
    assert content_words('The person OPENS a door, then opened it!') == [
        'person',
        'open',
        'door',
        'open',
    ]


@pytest.mark.parametrize(
    ('sentence', 'group'),
    [
        ('a person opens the fridge', 'a new word'),
        ('the person closes the door', 'a new pair of words'),
        ('she was closing windows', 'a known sentence'),  # nothing is new but stop words, endings
        ('person opens', 'a new sentence of known pairs'),
        ('the person opened the door', 'a known sentence'),
    ],
)
def test_groups(sentence: str, group: str) -> None:
    assert KnownSentences(TRAINED).group(sentence) == group


def test_words_of_other_scripts_are_words() -> None:
    known = KnownSentences(['он открывает дверь', '彼はドアを開ける', 'ο Γιάννης τρώει'])
    assert known.group('она моет посуду на кухне') == 'a new word'
    assert known.group('彼女は皿を洗う') == 'a new word'
    assert known.group('Он открывает ДВЕРЬ!') == 'a known sentence'
    assert known.group('открывает он') == 'a new pair of words'
    # An accent is part of its letter, in either way of writing it.
    assert content_words('Cafe\u0301 d_art') == content_words('café d art') == ['café', 'd', 'art']


def test_every_query_is_in_one_group() -> None:
    entries = [{'query': text} for text in (*TRAINED, 'a dog', 'a door opens')]
    found = KnownSentences(TRAINED).divide(entries)  # type: ignore[arg-type]
    assert tuple(found) == GROUPS
    assert sorted(e['query'] for part in found.values() for e in part) == sorted(
        e['query'] for e in entries
    )
    assert [e['query'] for e in found['a known sentence']] == TRAINED


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'sklearn.feature_extraction.text', None)
    novelty._stop_words.cache_clear()
    with pytest.raises(ImportError, match=r"scikit-learn: pip install 'demul-mm\[analysis\]'"):
        novelty._stop_words()
