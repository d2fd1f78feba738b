"""Milvus gives what FAISS gives: Milvus Lite, and the server that ``MILVUS_URI`` names, if any.

The pip package milvus==2.3.5, in an environment of its own, carries one: milvus-server --data DIR.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demul_mm.index import FaissIndex, IndexMismatchError, MilvusIndex, MomentIndex, SearchFilter

from .corpus import assert_same_hits, make_entries, make_queries

pytest.importorskip('pymilvus', reason='pip install demul-mm[milvus]')
pytest.importorskip('milvus_lite', reason='pip install demul-mm[milvus]')

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', params=['lite', 'server'])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FaissIndex, MilvusIndex]]:
    uri = os.environ.get('MILVUS_URI') if request.param == 'server' else None
    if request.param == 'server' and not uri:
        pytest.skip('MILVUS_URI names no server')
    root = tmp_path_factory.mktemp('pair')
    faiss = FaissIndex(root / 'faiss', kind='flat', segment_videos=700)
    name = f'demul_test_{os.getpid()}'
    milvus = MilvusIndex(root / 'milvus', segment_videos=700, uri=uri, collection=name)
    for index in (faiss, milvus):
        index.build(make_entries(1500))
    yield faiss, milvus
    milvus._connect().drop_collection(name)


def test_milvus_returns_what_faiss_returns(pair: tuple[FaissIndex, MilvusIndex]) -> None:
    queries = make_queries(4)
    odd = SearchFilter(predicate=lambda values: bool(values))

    def same() -> None:
        for where in (None, odd):
            faiss, milvus = (
                index.search(queries, num_videos=150, num_candidates=600, where=where).hits
                for index in pair
            )
            assert_same_hits(milvus, faiss, atol=1e-6)

    same()
    for index in pair:
        index.add(make_entries(40, 'new'))
    same()
    for index in pair:
        index.remove([f'v{i}' for i in range(0, 1500, 9)])
    same()
    for number in range(10):  # small segments are merged
        for index in pair:
            index.add(make_entries(3, f'few{number}_'))
    same()
    for index in pair:
        index.compact()
    same()
    faiss, milvus = pair
    assert faiss.stats()['videos'] == milvus.stats()['videos']


def test_opening_and_refreshing(pair: tuple[FaissIndex, MilvusIndex]) -> None:
    milvus = pair[1]
    opened = MomentIndex.open(milvus.path)
    assert isinstance(opened, MilvusIndex)
    milvus.add(make_entries(5, 'late'))
    query = make_entries(3, 'late')[2].moments[:1]
    assert opened.search(query).hits[0].videos[0] != 'late2'
    assert opened.refresh()
    assert opened.search(query).hits[0].videos[0] == 'late2'
    with pytest.raises(IndexMismatchError, match='of the backend MilvusIndex, not FaissIndex'):
        FaissIndex.open(milvus.path)


def test_one_process_at_a_time(pair: tuple[FaissIndex, MilvusIndex]) -> None:
    if pair[1].uri is not None:
        pytest.skip('a server has room for many')
    code = (
        'from demul_mm.index import MomentIndex\n'
        'try:\n'
        f'    MomentIndex.open({str(pair[1].path)!r})\n'
        'except RuntimeError as error:\n'
        '    print(error)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'can be open in one process only' in done.stdout


def test_a_token_is_not_written_down(tmp_path: Path) -> None:
    index = MilvusIndex(tmp_path, token='root:secret')
    assert 'secret' not in str(index.options())
