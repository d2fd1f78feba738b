"""Sentences are divided by what training has seen of them."""

import pytest

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


def test_every_query_is_in_one_group() -> None:
    entries = [{'query': text} for text in (*TRAINED, 'a dog', 'a door opens')]
    found = KnownSentences(TRAINED).divide(entries)  # type: ignore[arg-type]
    assert tuple(found) == GROUPS
    assert sorted(e['query'] for part in found.values() for e in part) == sorted(
        e['query'] for e in entries
    )
    assert [e['query'] for e in found['a known sentence']] == TRAINED
