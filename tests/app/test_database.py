"""A library on a disk that is full, damaged or only to be read."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from demul_mm.app.alerts import Alerts
from demul_mm.app.catalogue import Catalogue
from demul_mm.app.database import _open, connect
from demul_mm.app.library import Library
from demul_mm.app.watch import watch
from demul_mm.video.text import TimedLine
from tests.app.films import ColourEncoder, write_film

LOG = 'library.sqlite-wal'
LINES = [TimedLine(i, i + 1, f'line {i} of many, each of its own words', 'x') for i in range(500)]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    write_film(tmp_path / 'films/one.mp4', ['red', 'blue'])
    library = Library(tmp_path / 'library', ColourEncoder)
    library.update(tmp_path / 'films')
    alerts = Alerts(library)
    alerts.add('red', 0.9)
    alerts._db.close()
    library.catalogue.close()
    return library


def test_what_is_only_to_be_read_is_searched(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in library.path.glob('*.sqlite')}

    before, right = content(), Library.open(library.path, ColourEncoder).search('red')
    monkeypatch.setattr(os, 'access', lambda *_: False)
    mine = Library.open(library.path, ColourEncoder)
    assert mine.search('red') == right
    assert [alert.sentence for alert in Alerts(mine).all()] == ['red']
    for write in (
        lambda: mine.catalogue.set('roots', []),
        lambda: Alerts(mine).remove(1),
    ):
        with pytest.raises(OSError, match='readonly') as caught:
            write()
        assert caught.value.errno == errno.EROFS
    assert content() == before


def test_a_reader_of_a_folder_that_is_only_to_be_read_sees_changes(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it found no log beside the file, whose absence it can only take for good."""
    path, reader = library.path / 'library.sqlite', None

    def read() -> tuple[int, int]:
        nonlocal reader
        with monkeypatch.context() as patch:  # who writes has closed it: there is no log
            patch.setattr(os, 'access', lambda *_: False)
            patch.setattr('demul_mm.app.database._open', only_as_it_is)
            reader = reader or Catalogue(path)
            return reader.setting('state'), len(reader.videos())

    def only_as_it_is(path: Path, uri: str, opened=_open):
        if 'mode=ro' in uri and 'immutable' not in uri and not path.with_name(LOG).exists():
            raise OSError('unable to open database file')
        return opened(path, uri)

    for number in range(3):
        with closing(Catalogue(path)) as writer:
            writer.set('state', number)
            writer.put(f'{number}.mp4', str(number), '', 1.0)
            assert number == 0 or read() == (number, 2 + number)
        assert read() == (number, 2 + number)


def test_a_mistake_in_a_statement_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match='no such table: films'):
        connect(tmp_path / 'one.sqlite').execute('SELECT * FROM films')


def test_opening_waits_for_nobody_who_writes(library: Library) -> None:
    with closing(sqlite3.connect(library.path / 'library.sqlite', timeout=0)) as other:
        other.execute('BEGIN IMMEDIATE')
        assert Library.open(library.path, ColourEncoder).search('red')


@pytest.mark.parametrize('name', ['library.sqlite', 'alerts.sqlite'])
def test_what_is_damaged_is_named(library: Library, name: str) -> None:
    (library.path / name).write_bytes(b'garbage' * 1000)
    with pytest.raises(OSError, match=f'{name}: file is not a database'):
        Alerts(Library.open(library.path, ColourEncoder)).all()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / 'library.sqlite')
    catalogue.put('a.mp4', 'a', '', 1.0, LINES[:1])
    pages = catalogue._db.execute('PRAGMA page_count').fetchone()[0]
    catalogue._db.execute(f'PRAGMA max_page_count = {pages}')
    with pytest.raises(OSError, match=r'library\.sqlite: database or disk is full') as caught:
        catalogue.put('b.mp4', 'b', '', 1.0, LINES)
    assert caught.value.errno == errno.ENOSPC
    assert [row.path for row in catalogue.videos()] == ['a.mp4']


def test_watching_waits_for_room(library: Library, tmp_path: Path) -> None:
    def wait(_: float) -> None:
        nonlocal looks
        looks += 1
        limit = 1 if looks < 4 else 1 << 30  # no less than what it has
        library.catalogue._db.execute(f'PRAGMA max_page_count = {limit}')

    looks = 0
    library = Library(library.path, ColourEncoder)
    reports = watch(library, [tmp_path / 'films'], 0.1, wait=wait)
    assert next(reports)[:3] == (0, 1, 0)
    write_film(tmp_path / 'films/two.mp4', ['green'])
    lines = [f'{i}\n00:00:01,000 --> 00:00:02,000\n{line.text}\n' for i, line in enumerate(LINES)]
    (tmp_path / 'films/two.srt').write_text('\n'.join(lines))
    reports = (report for report in reports if report.added)
    assert next(reports)[:3] == (1, 1, 0)
    assert looks >= 4
