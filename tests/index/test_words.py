"""Words beside vectors: BM25 of the texts of videos."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demul_mm.index import ExactIndex, FaissIndex, MomentIndex, VideoEntry
from demul_mm.index.words import WordIndex, words_of

from .corpus import assert_same_hits, make_entries, make_queries

THINGS = ['onion', 'pan', 'knife', 'bowl', 'salt', 'oven', 'rice', 'egg', 'fish', 'lemon']
ASKED = ['the onion in a pan', 'Salt, egg and RICE', 'nothing of it']
NUMBER = 1100  # more than are scored without level 1


def text_of(number: int) -> str:
    rng = np.random.default_rng(number)
    return ' '.join(['the', *rng.choice(THINGS, rng.integers(2, 9))])


def told(entry: VideoEntry, number: int) -> VideoEntry:
    """Every eleventh video has no text."""
    text = {} if number % 11 == 0 else dict(text=text_of(number))
    return replace(entry, metadata={**(entry.metadata or {}), **text})


@pytest.fixture(scope='module')
def entries() -> list[VideoEntry]:
    return [told(entry, number) for number, entry in enumerate(make_entries(NUMBER))]


@pytest.fixture(scope='module')
def queries() -> np.ndarray:
    return make_queries(len(ASKED))


def texts(entries: list[VideoEntry]) -> list[str]:
    return [(entry.metadata or {}).get('text', '') for entry in entries]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('Cut the Onion, twice!', ['cut', 'the', 'onion', 'twice']),
        ('snake_case ＡＢＣ １２', ['snake', 'case', 'abc', '12']),
        ('Straße É', ['strass', 'é']),
        ('onions chopped, chopping', ['onion', 'chop', 'chop']),
        ('切る onionを', ['切', 'る', 'onion', 'を']),
        (' … ', []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_the_score_is_bm25() -> None:
    """Robertson's formula with k1 = 1.2 and b = .75, word by word."""
    documents = ['a b b c', 'b d', '', 'c c c c c c']
    found = WordIndex.of(documents).scores('b c b x')
    told = [words_of(one) for one in documents if one]
    mean = sum(map(len, told)) / len(told)
    for document, score in zip(documents, found):
        words, expected = words_of(document), 0.0
        for word in ('b', 'c', 'b', 'x'):
            having = sum(word in one for one in told)
            rarity = math.log(1 + (len(told) - having + 0.5) / (having + 0.5))
            times = words.count(word)
            slowness = 1.2 * (1 - 0.75 + 0.75 * len(words) / mean)
            expected += rarity * times * 2.2 / (times + slowness)
        assert score == pytest.approx(expected, rel=1e-6)


def test_parts_and_removals_change_nothing(entries: list[VideoEntry]) -> None:
    """Built in parts, added to and removed from, an index has the words of what is left."""
    index = FaissIndex(segment_videos=400, kind='flat')
    index.build(entries[:500])
    index.add(entries[500:])
    gone = {entry.video_id for entry in entries[100:600:3]}
    index.remove(sorted(gone))
    left = [entry for entry in entries if entry.video_id not in gone]
    snapshot = index.snapshot
    names = snapshot.video_ids(np.arange(snapshot.num_videos))
    for sentence in ASKED:
        scores = dict(zip(names, snapshot.words.scores(sentence).tolist()))
        expected = WordIndex.of(texts(left)).scores(sentence)
        assert [scores[entry.video_id] for entry in left] == pytest.approx(expected.tolist())
        assert not any(scores[name] for name in gone)


@pytest.mark.parametrize('mode', ['fast', 'exact'])
def test_words_are_added_to_what_vectors_say(
    entries: list[VideoEntry], queries: np.ndarray, mode: str
) -> None:
    index = ExactIndex(level2='fp16')
    index.build(entries)
    words = WordIndex.of(texts(entries))
    found = index.search(queries, 20, 30, mode=mode, words=ASKED, words_weight=0.1).hits
    for query, sentence, hits in zip(queries, ASKED, found):
        bonus = 0.1 * words.scores(sentence)
        alike = np.array([(entry.moments @ query).max() for entry in entries])
        order = np.argsort(-(alike + bonus), kind='stable')[:30]
        assert np.allclose(hits.video_scores, (alike + bonus)[order], atol=2e-3)
        assert set(hits.videos[:20]) <= {entries[i].video_id for i in order}
        number = {entry.video_id: i for i, entry in enumerate(entries)}
        assert np.allclose(hits.word_scores, [bonus[number[name]] for name in hits.videos])
        assert hits.scores[0] == hits.video_scores[0]
    assert not found[2].word_scores.any()


def test_each_query_has_its_own_words_however_many_are_asked(entries: list[VideoEntry]) -> None:
    index = ExactIndex()
    index.build(entries[:60])
    sentences = [*THINGS[:6], 'the rice']
    queries = make_queries(len(sentences))
    together = index.search(queries, words=sentences, words_weight=0.3)
    for row, one, hits in zip(queries, sentences, together.hits):
        alone = index.search(row[None], words=[one], words_weight=0.3)
        assert_same_hits([hits], alone.hits)


def test_both_modes_of_the_reference_are_the_same_with_words() -> None:
    """Also where a video is the best by neither alone, of more than are scored anyway."""
    many = [
        replace(entry, metadata=dict(text='onion ' * (i % 40) + 'soup ' * 9))
        for i, entry in enumerate(make_entries(1200))
    ]
    index = ExactIndex()
    index.build(many)
    options = dict(num_moments=5, num_videos=5, num_candidates=5)
    asked = dict(words=['onion'] * 20, words_weight=1.0, **options)
    fast, exact = (index.search(make_queries(20), mode=mode, **asked) for mode in ('fast', 'exact'))
    assert_same_hits(fast.hits, exact.hits)


def test_words_find_what_vectors_miss(entries: list[VideoEntry]) -> None:
    """Level 1 by prototypes alone never hands on a video that only words point at."""
    index = FaissIndex(kind='flat')
    index.build([*entries, replace(entries[0], video_id='told', metadata=dict(text='a zebra'))])
    away = -entries[0].moments.mean(0, keepdims=True)
    options = dict(num_videos=5, num_candidates=5)
    assert 'told' not in index.search(away, **options).hits[0].videos
    hits = index.search(away, words=['zebra'], words_weight=1.0, **options).hits[0]
    assert hits.videos[0] == 'told'
    assert hits.video_ids[0] == 'told'
    assert (hits.word_scores > 0).tolist() == [True, False, False, False, False]


def test_without_words_nothing_changes(entries: list[VideoEntry], queries: np.ndarray) -> None:
    index = FaissIndex(kind='flat')
    index.build(entries)
    plain = index.search(queries).hits
    assert_same_hits(plain, index.search(queries, words=ASKED, words_weight=0.0).hits)
    assert_same_hits(plain, index.search(queries, words=[''] * 3, words_weight=1.0).hits)
    untold = FaissIndex(kind='flat')
    untold.build([replace(entry, metadata=None) for entry in entries])
    assert_same_hits(plain, untold.search(queries, words=ASKED, words_weight=1.0).hits)


def test_text_that_is_no_text_is_none(queries: np.ndarray) -> None:
    index = ExactIndex()
    index.build([replace(entry, metadata=dict(text=7)) for entry in make_entries(5)])
    assert not index.search(queries, words=['7'] * 3, words_weight=1.0).hits[0].word_scores.any()


def test_the_cache_of_words_is_made_anew(entries: list[VideoEntry], tmp_path: Path) -> None:
    FaissIndex(path=tmp_path, kind='flat').build(entries)
    expected = WordIndex.of(texts(entries)).scores(ASKED[0])
    for harm in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])):
        assert np.allclose(MomentIndex.open(tmp_path).snapshot.words.scores(ASKED[0]), expected)
        (cache,) = tmp_path.rglob('*.stems')
        harm(cache)
    assert np.allclose(MomentIndex.open(tmp_path).snapshot.words.scores(ASKED[0]), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(words='onion'), 'a list of 3 sentences'),
        (dict(words=['onion']), 'a list of 3 sentences'),
        (dict(words=ASKED, words_weight=-1.0), 'at least 0'),
        (dict(words=ASKED, words_weight=math.nan), 'at least 0'),
    ],
)
def test_wrong_words(queries: np.ndarray, options: dict, message: str) -> None:
    index = ExactIndex()
    index.build(make_entries(3))
    with pytest.raises(ValueError, match=message):
        index.search(queries, **options)
