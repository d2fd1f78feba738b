"""A library whose index is on a Milvus server is searched from anywhere."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demul_mm.app.library import Library
from demul_mm.index import MilvusIndex
from tests.app.films import ColourEncoder, write_film
from tests.index.milvus_server import milvus_server
from tests.warm import Program

pytest.importorskip('pymilvus', reason='pip install demul-mm[milvus]')
pytest.importorskip('milvus_lite', reason='pip install demul-mm[milvus]')
pytestmark = pytest.mark.slow

SEARCH = """
import sys
from demul_mm.app.library import Library
from tests.app.films import ColourEncoder
library = Library.open(sys.argv[1], ColourEncoder)
for line in sys.stdin:
    for hit in library.search(line, 3):
        print(hit.path, hit.start, hit.end, round(hit.score, 4))
    print('done', flush=True)
"""


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with milvus_server(tmp_path_factory.mktemp('milvus')) as uri:
        yield uri


def answers(process: Program, sentence: str) -> list[str]:
    process.stdin.write(f'{sentence}\n')
    process.stdin.flush()
    return list(iter(process.stdout.readline, 'done\n'))


def test_another_process_searches_while_videos_come_and_go(server: str, tmp_path: Path) -> None:
    write_film(tmp_path / 'films/one.mp4', ['black', 'red', 'black'])
    write_film(tmp_path / 'films/two.mp4', ['blue', 'black', 'green'])
    near = Library(tmp_path / 'near', ColourEncoder)
    library = Library.make(tmp_path / 'library', ColourEncoder, tmp_path / 'films', milvus=server)
    for one in (near, library):
        one.update([tmp_path / 'films'])
    assert library.facts()['milvus'] == server
    elsewhere = dict(os.environ, HOME=str(tmp_path / 'home'))
    pipe = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [sys.executable, '-c', SEARCH, str(library.path)]
    other = Program(command, env=elsewhere, **pipe)

    def same() -> None:
        for sentence in ('something red', 'something green'):
            hits = near.search(sentence, 3)
            expected = [f'{h.path} {h.start} {h.end} {round(h.score, 4)}\n' for h in hits]
            assert answers(other, sentence) == expected

    same()
    write_film(tmp_path / 'films/three.mp4', ['red', 'green'])
    (tmp_path / 'films/one.mp4').unlink()
    for one in (near, library):
        assert one.update()[0] == 1
    same()
    shutil.rmtree(library.path / 'index')  # made anew from the frames
    library = Library.open(library.path, ColourEncoder)
    write_film(tmp_path / 'films/four.mp4', ['green', 'red'])
    for one in (near, library):
        one.update()
    same()
    other.communicate()
    assert other.returncode == 0
    assert isinstance(library._open_index(), MilvusIndex)
    assert library.catalogue._db.execute('PRAGMA journal_mode').fetchone() == ('delete',)
    for path in (library.path, near.path):
        with pytest.raises(ValueError, match='keeps its index in'):
            Library.make(path, ColourEncoder, (), milvus='http://elsewhere:19530')


def test_a_server_that_does_not_answer_leaves_nothing(tmp_path: Path) -> None:
    write_film(tmp_path / 'films/one.mp4', ['black', 'red', 'black'])
    nobody = 'http://127.0.0.1:9'
    with pytest.raises(RuntimeError, match=f'could not connect to Milvus at {nobody}'):
        Library.make(tmp_path / 'library', ColourEncoder, tmp_path / 'films', milvus=nobody)
    assert not (tmp_path / 'library').exists()
