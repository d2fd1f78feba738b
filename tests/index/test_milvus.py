"""Milvus gives what FAISS gives: a file of Milvus Lite, and a server (see milvus_server.py)."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from demul_mm.index import (
    FaissIndex,
    IndexMismatchError,
    MilvusIndex,
    MomentHits,
    MomentIndex,
    SearchFilter,
    VideoEntry,
)
from demul_mm.index.milvus_collections import PIECE, Collections
from demul_mm.structures.nms import MomentNMS
from tests.warm import Program, run_warm

from .corpus import DIM, assert_same_hits, make_entries, make_queries, unit
from .milvus_server import milvus_server

pytest.importorskip('pymilvus', reason='pip install demul-mm[milvus]')
pytest.importorskip('milvus_lite', reason='pip install demul-mm[milvus]')

pytestmark = pytest.mark.slow
Pair = tuple[FaissIndex, MilvusIndex]
PARTS = ['rootCoord', 'proxy', 'queryCoord', 'queryNode', 'indexNode', 'dataCoord', 'dataNode']


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with milvus_server(tmp_path_factory.mktemp('milvus')) as uri:
        yield uri


@pytest.fixture(scope='module')
def pair(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from make_pair(tmp_path_factory.mktemp('pair'), server, 1200)


@pytest.fixture
def served(server: str, tmp_path: Path) -> Iterator[Pair]:
    yield from make_pair(tmp_path, server, 30)


def make_pair(root: Path, uri: str | None, number: int) -> Iterator[Pair]:
    faiss = FaissIndex(root / 'faiss', kind='flat', segment_videos=700)
    name = f'test_{os.getpid()}_{time.time_ns()}'
    milvus = MilvusIndex(root / 'milvus', segment_videos=700, uri=uri, collection=name)
    for index in (faiss, milvus):
        index.build(make_entries(number))
    yield faiss, milvus
    milvus.drop()


def address(index: MilvusIndex) -> str:
    return f'{index.uri}/{index.collection}'


def same(first: MomentIndex, second: MomentIndex, **options: object) -> None:
    """Small corpora are scored whole; a depth of 600 asks level 1 in larger ones."""
    queries = make_queries(4)
    hits = [
        index.search(queries, num_videos=150, num_candidates=600, **options).hits
        for index in (first, second)
    ]
    assert_same_hits(*hits, atol=1e-6)


def test_milvus_returns_what_faiss_returns(pair: Pair) -> None:
    odd = SearchFilter(predicate=lambda values: bool(values))
    sport = SearchFilter(conditions=[('tags', 'has', 'sport'), ('date', '>=', '2024-04-01')])
    same(*pair)
    same(*pair, where=odd)
    same(*pair, where=sport, nms=MomentNMS(0.5, 10))
    same(*pair, mode='exact')
    for index in pair:
        index.add(make_entries(40, 'new'))
    same(*pair)
    for index in pair:
        index.remove([f'v{i}' for i in range(0, 1200, 9)])
        index.add(make_entries(30, 'v')[1:5], on_existing='replace')
    same(*pair)
    for index in pair:
        index.compact()
    same(*pair, where=odd)
    assert len({index.stats()['videos'] for index in pair}) == 1
    for one, other in zip(*(index.get(['new3', 'v4']) for index in pair)):
        np.testing.assert_array_equal(one.moments, other.moments)
        np.testing.assert_array_equal(one.spans, other.spans)
        assert (one.video_id, one.duration, one.metadata) == (
            other.video_id,
            other.duration,
            other.metadata,
        )


def test_opening_and_refreshing(pair: Pair) -> None:
    milvus = pair[1]
    opened = MomentIndex.open(milvus.path)
    assert isinstance(opened, MilvusIndex)
    for index in pair:
        index.add(make_entries(5, 'late'))
    query = make_entries(3, 'late')[2].moments[:1]
    assert opened.search(query).hits[0].videos[0] != 'late2'
    assert opened.refresh()
    assert not opened.refresh()
    assert opened.search(query).hits[0].videos[0] == 'late2'
    with pytest.raises(IndexMismatchError, match='of the backend MilvusIndex, not FaissIndex'):
        FaissIndex.open(milvus.path)


def test_one_process_at_a_time_has_a_file(tmp_path: Path) -> None:
    faiss, milvus = next(make_pair(tmp_path, None, 30))
    same(faiss, milvus)
    same(faiss, MomentIndex.open(milvus.path))
    code = (
        'from demul_mm.index import MomentIndex\n'
        'try:\n'
        f'    MomentIndex.open({str(milvus.path)!r})\n'
        'except RuntimeError as error:\n'
        '    print(error)\n'
    )
    done = run_warm(sys.executable, '-c', code)
    assert 'can be open in one process only' in done.stdout


SEARCH = """
import json, sys
from demul_mm.index import MomentIndex, SearchFilter
from tests.index.corpus import make_queries
index = MomentIndex.open(sys.argv[1])
odd = SearchFilter(conditions=[('views', '>', 100)])
print('opened', flush=True)
for line in sys.stdin:
    index.refresh()
    for where in (None, odd):
        for hits in index.search(
            make_queries(3), num_videos=150, num_candidates=600, where=where
        ).hits:
            print(json.dumps([hits.video_ids, hits.scores.tolist(), hits.spans.tolist()]))
    print('done', flush=True)
"""


def test_processes_without_the_folder_search_at_once(pair: Pair, tmp_path: Path) -> None:
    faiss, milvus = pair
    home = dict(os.environ, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path), MILVUS_TOKEN='')
    pipe = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [sys.executable, '-c', SEARCH, address(milvus)]
    searchers = [Program(command, env=home, **pipe) for _ in range(2)]
    odd = SearchFilter(conditions=[('views', '>', 100)])
    assert [process.stdout.readline() for process in searchers] == ['opened\n'] * 2
    for number in range(2):
        for index in pair:
            index.add(make_entries(60, f'while{number}'))
            index.remove([f'v{10 + number}'])
        for process in searchers:
            process.stdin.write('\n')
            process.stdin.flush()
        expected = [
            hits
            for where in (None, odd)
            for hits in faiss.search(
                make_queries(3), num_videos=150, num_candidates=600, where=where
            ).hits
        ]
        for process in searchers:
            for hits in expected:
                ids, scores, spans = json.loads(process.stdout.readline())
                assert ids == hits.video_ids
                np.testing.assert_allclose(scores, hits.scores, atol=1e-6)
                np.testing.assert_allclose(spans, hits.spans, atol=1e-6)
            assert process.stdout.readline() == 'done\n'
    for process in searchers:
        process.communicate()
        assert process.returncode == 0
    assert not list(tmp_path.glob('demul*'))


def test_an_address_is_for_searching_only(served: Pair) -> None:
    faiss, milvus = served
    opened = MomentIndex.open(address(milvus))
    same(faiss, opened)
    assert opened.stats()['videos'] == 30
    for change in (
        lambda: opened.add(make_entries(1, 'new')),
        lambda: opened.remove('v1'),
        opened.compact,
        lambda: opened.build(make_entries(1), overwrite=True),
    ):
        with pytest.raises(ValueError, match='change the index by its folder'):
            change()
    with pytest.raises(FileNotFoundError, match='holds no index'):
        MomentIndex.open(f'{milvus.uri}/of_nobody')
    with pytest.raises(ValueError, match='names no collection'):
        MomentIndex.open(milvus.uri)
    with pytest.raises(IndexMismatchError, match='was made with model'):
        MomentIndex.open(address(milvus), expected_fingerprint='other')


def test_what_was_removed_since_is_left_out(served: Pair) -> None:
    faiss, milvus = served
    reader = MomentIndex.open(address(milvus))
    assert [entry.video_id for entry in reader.get('v3')] == ['v3']
    for index in served:
        index.add(make_entries(2, 'new'))
        index.remove(['v3', 'v4', 'new0', 'new1'])
    same(faiss, reader)
    with pytest.raises(KeyError, match='1 videos are not in the index'):
        MomentIndex.open(address(milvus)).get(['v3'])
    assert reader.stats()['videos'] == 28


@pytest.mark.parametrize('step', ['delete', 'enter', 'publish'])
def test_a_writer_that_is_killed(served: Pair, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faiss, milvus = served
    before: list[MomentHits] = faiss.search(make_queries(4)).hits
    faiss.add([*make_entries(9, 'new'), *make_entries(2, 'v')[1:]], on_existing='replace')

    class Killed(Exception):
        pass

    def kill(*args: object, **kwargs: object) -> None:
        if step == 'enter':  # half way
            done(*args, **kwargs)
        raise Killed

    done = getattr(Collections, step)
    with monkeypatch.context() as patch:
        patch.setattr(Collections, step, kill)
        changed = [*make_entries(9, 'new'), *make_entries(2, 'w')[1:]]
        changed[-1] = VideoEntry('v1', changed[-1].moments, changed[-1].spans, 60.0)
        with pytest.raises(Killed):
            milvus.add(changed, on_existing='replace')
    faiss.add(changed[-1:], on_existing='replace')
    reader = MomentIndex.open(address(milvus))
    hidden = SearchFilter(excluded_ids=['v1'])
    known = [h for h in reader.search(make_queries(4), where=hidden).hits]
    for hits, old in zip(known, before):
        assert set(hits.videos) == set(old.videos) - {'v1'}
    same(faiss, MomentIndex.open(milvus.path))
    reader.refresh()
    same(faiss, reader)


def test_words_are_searched_there_too(served: Pair) -> None:
    told = [
        dataclasses.replace(entry, metadata=dict(text=f'an onion {"and salt " * (number % 4)}'))
        for number, entry in enumerate(make_entries(25, 'told'))
    ]
    for index in served:
        index.add(told)
    words = ['salt', 'the onion', 'told', '']
    same(*served, words=words, words_weight=0.5)
    hits = served[1].search(make_queries(4), words=words, words_weight=0.5).hits
    assert [bool(one.word_scores.any()) for one in hits] == [True, True, False, False]


def test_a_long_video_takes_several_rows(served: Pair) -> None:
    rng = np.random.default_rng(0)
    count = 3 * PIECE // DIM
    spans = np.sort(rng.random((count, 2)), 1).astype(np.float32)
    entry = VideoEntry('long', unit(rng.standard_normal((count, DIM))), spans, 1.0)
    for index in served:
        index.add([entry])
    same(*served)
    found = served[1].get('long')[0]
    np.testing.assert_array_equal(found.moments, served[0].get('long')[0].moments)
    np.testing.assert_array_equal(found.spans, spans)
    served[1].remove('long')
    held = served[1].collections
    assert len(held.client.query(held.videos, filter='id > 0', output_fields=['id'])) == 30


def test_a_codebook_is_published_too(server: str, tmp_path: Path) -> None:
    name = f'test_{os.getpid()}_pq'
    index = MilvusIndex(tmp_path, level2='pq4', uri=server, collection=name)
    index.build(make_entries(20))
    opened = MomentIndex.open(address(index))
    same(index, opened)
    index.drop()


def test_a_collection_is_of_one_index(served: Pair, tmp_path: Path) -> None:
    faiss, milvus = served
    other = MilvusIndex(tmp_path / 'other', uri=milvus.uri, collection=milvus.collection)
    with pytest.raises(FileExistsError, match='has collections of the name'):
        other.build(make_entries(5))
    same(faiss, MomentIndex.open(address(milvus)))
    milvus.drop()
    with pytest.raises(FileNotFoundError, match='holds no index'):
        MomentIndex.open(address(milvus))
    same(faiss, milvus)  # made anew
    same(faiss, MomentIndex.open(address(milvus)))


def test_what_milvus_cannot_keep_is_refused_before(served: Pair) -> None:
    entry = dataclasses.replace(make_entries(1, 'new')[0], metadata=dict(said='ä' * 40_000))
    with pytest.raises(ValueError, match='metadata has 80012 bytes; this index keeps 65535'):
        served[1].add([entry])
    served[0].add([entry])
    served[0].remove('new0')
    same(*served)


def test_a_token_is_not_written_down(tmp_path: Path) -> None:
    index = MilvusIndex(tmp_path, token='root:secret')
    assert 'secret' not in str(index.options())
