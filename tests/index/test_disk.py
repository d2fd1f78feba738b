"""Provenance, damage, full disks, other writers, readers meanwhile."""

import errno
import json
import resource
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from demul_mm.index import (
    ExactIndex,
    FaissIndex,
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexMismatchError,
    IndexStorageError,
    MomentIndex,
    VideoEntry,
    store,
)
from demul_mm.index.base import MAX_SMALL_FRAGMENTS
from demul_mm.index.store import Store
from tests.warm import Program

from .corpus import Source, assert_same_hits, make_entries, make_queries

EVERYTHING = dict(num_videos=1000, num_moments=300)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    index = FaissIndex(
        tmp_path / 'index',
        kind='ivf_sq',
        segment_videos=100,
        model_fingerprint='weights-1',
        feature_fingerprint='features-1',
    )
    index.build(make_entries(250))
    index.remove(['v17'])
    return index.path


def test_provenance(root: Path) -> None:
    index = MomentIndex.open(root, expected_fingerprint='weights-1', expected_features='features-1')
    assert index.stats()['model_fingerprint'] == 'weights-1'
    with pytest.raises(IndexMismatchError, match="made with model 'weights-1', this is model 'w2'"):
        MomentIndex.open(root, expected_fingerprint='w2')
    with pytest.raises(IndexMismatchError, match="feature 'features-1', this is feature 'f2'"):
        MomentIndex.open(root, expected_features='f2')
    with pytest.raises(IndexMismatchError, match='of the backend FaissIndex, not ExactIndex'):
        ExactIndex.open(root)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='holds no index'):
        MomentIndex.open(tmp_path)
    lance.write_dataset(pa.table({'id': ['a']}), tmp_path / 'videos.lance')
    with pytest.raises(IndexFormatError, match='does not belong to an index of this package'):
        MomentIndex.open(tmp_path)


def test_newer_version(root: Path) -> None:
    videos = lance.dataset(root / 'videos.lance')
    text = json.dumps(dict(store.read_info(videos), version=7))
    videos.update_schema_metadata({'demul_mm.index': text})
    with pytest.raises(IndexFormatError, match='version 7; this demul_mm reads version 2: update'):
        MomentIndex.open(root)


def truth_files(root: Path) -> list[Path]:
    """What cannot be made anew."""
    videos = root / 'videos.lance'
    folders = (videos / 'data', videos / '_deletions', videos / '_versions')
    return [p for folder in folders for p in sorted(folder.iterdir()) if p.suffix != '.json']


def cache_files(root: Path) -> list[Path]:
    return [path for path in (root / 'cache').iterdir() if path.suffix]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def places(path: Path) -> list[int]:
    size = path.stat().st_size
    return [size // 2, size - 1, *np.random.default_rng(0).integers(0, size, 12).tolist()]


def test_every_flipped_byte_of_the_truth_is_found(root: Path) -> None:
    files = truth_files(root)
    assert {p.parent.name for p in files} == {'data', '_deletions', '_versions'}
    for path in files:
        for place in places(path):
            flip(path, place)
            with pytest.raises(IndexDamagedError, match='restore it from a copy'):
                MomentIndex.open(root)
            flip(path, place)
    MomentIndex.open(root)


def test_no_flipped_byte_is_silent_where_no_checksum_was_noted(root: Path) -> None:
    """In a copy without caches, it is found, or it is one that nothing is read from, as padding."""
    queries, names = make_queries(3), [f'v{i}' for i in range(0, 250, 10)]

    def held(index: MomentIndex) -> list:
        return [(e.video_id, e.duration, e.metadata, e.spans.tolist()) for e in index.get(names)]

    index = MomentIndex.open(root)
    expected, entries = index.search(queries, mode='exact').hits, held(index)
    (path,) = (root / 'videos.lance' / 'data').iterdir()
    found = 0
    for place in places(path):
        shutil.rmtree(root / 'cache')
        flip(path, place)
        try:
            index = MomentIndex.open(root)
        except IndexFormatError:
            found += 1
        else:
            assert_same_hits(index.search(queries, mode='exact').hits, expected)
            assert held(index) == entries
        flip(path, place)
    assert found >= 7


def test_every_truncated_or_missing_file_of_the_truth_is_found(root: Path) -> None:
    for path in truth_files(root):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(IndexDamagedError, match='restore it from a copy'):
            MomentIndex.open(root)
        path.unlink()
        with pytest.raises((IndexDamagedError, FileNotFoundError)):
            MomentIndex.open(root)
        path.write_bytes(content)


@pytest.mark.parametrize('harm', ['flip', 'truncate', 'delete'])
def test_a_damaged_cache_is_made_anew(root: Path, harm: str) -> None:
    queries = make_queries(3)
    expected = MomentIndex.open(root).search(queries, **EVERYTHING)
    names = {path.suffix for path in cache_files(root)}
    assert names == {'.arrow', '.faiss'}
    for path in cache_files(root):
        if harm == 'flip':
            flip(path, path.stat().st_size // 2)
        elif harm == 'truncate':
            path.write_bytes(path.read_bytes()[:-1])
        else:
            path.unlink()
    for _ in range(2):
        index = MomentIndex.open(root)
        assert_same_hits(index.search(queries, **EVERYTHING).hits, expected.hits, atol=1e-6)
        assert index.stats()['level1']['kind'] == 'flat'


def test_caches_are_made_once(tmp_path: Path) -> None:
    index = FaissIndex(tmp_path, kind='ivf_sq')
    index.build(make_entries(500))
    files = {path: path.stat().st_mtime_ns for path in cache_files(tmp_path)}
    assert sorted(path.name.partition('.')[2] for path in files) == ['arrow', 'ivf_sq.faiss']
    index.remove('v3')
    index = MomentIndex.open(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in cache_files(tmp_path)} == files
    assert index.stats()['bytes_by_part']['level1'] > 0


def test_caches_made_after_a_removal_know_what_is_there(tmp_path: Path) -> None:
    path, entries = tmp_path / 'a', make_entries(6)
    index = ExactIndex(path=path)
    index.build(entries)
    index.remove('v0')
    del index
    shutil.rmtree(path / 'cache')
    index = MomentIndex.open(path)
    index.remove('v3')
    hits = index.search(make_queries(1), num_moments=100).hits[0]
    assert sorted(hits.videos) == ['v1', 'v2', 'v4', 'v5']
    for kept, given in zip(index.get(['v1', 'v5']), (entries[1], entries[5])):
        np.testing.assert_array_equal(kept.spans, given.spans)


def test_there_are_never_many_small_fragments(tmp_path: Path) -> None:
    index, entries = ExactIndex(path=tmp_path / 'a'), make_entries(14)
    index.build(entries[:1])
    for one in entries[1:]:
        index.add([one])
        assert index.stats()['fragments'] <= MAX_SMALL_FRAGMENTS
    assert index.stats()['videos'] == 14


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, which to a writer is as a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('left', [0, 300, 4_000, 30_000])
def test_full_disk(root: Path, left: int) -> None:
    """Wherever in an addition the space ends: a clear line, and the index is as it was."""
    queries = make_queries(3)
    before = MomentIndex.open(root)
    files = {p: p.read_bytes() for p in truth_files(root)}
    expected = before.search(queries)
    index = MomentIndex.open(root)
    with full_disk(left), pytest.raises(IndexStorageError, match='The last good index is'):
        index.add(make_entries(250, 'new'))
    for path, content in files.items():
        assert path.read_bytes() == content
    for reader in (before, index, MomentIndex.open(root)):
        assert_same_hits(reader.search(queries).hits, expected.hits)
    index.add(make_entries(250, 'new'))
    assert index.stats()['videos'] == 249 + 250


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(disk)]
    if not shutil.which('mount') or subprocess.run(command, capture_output=True).returncode:
        pytest.skip('mounting a small disk needs the right to')
    yield disk
    subprocess.run(['umount', '-l', str(disk)], check=True)


def test_a_disk_is_full_while_building(small_disk: Path) -> None:
    index, entries = ExactIndex(small_disk, segment_videos=100), make_entries(800)
    source = Source(entries)
    with pytest.raises(IndexStorageError, match='the disk is full') as caught:
        index.build(source)
    assert 'it goes on where it stopped' in str(caught.value)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError, match='its build was not finished; run it again'):
        MomentIndex.open(small_disk)
    written = len(source.loaded) - 100
    source.loaded.clear()
    subprocess.run(['mount', '-o', 'remount,size=9m', str(small_disk)], check=True)
    index.build(source)
    assert source.loaded == [f'v{i}' for i in range(written, 800)]
    assert index.stats()['videos'] == 800


def test_a_disk_is_full_while_adding(small_disk: Path) -> None:
    """A clear line, and the index is as it was; with room, the addition goes on."""
    index = ExactIndex(small_disk / 'index')
    index.build(make_entries(50))
    queries = make_queries(3)
    before = index.search(queries).hits
    with pytest.raises(IndexStorageError, match='the disk is full') as caught:
        index.add(make_entries(800, 'new'))
    assert caught.value.errno == errno.ENOSPC
    for reader in (index, MomentIndex.open(small_disk / 'index')):
        assert_same_hits(reader.search(queries).hits, before)
    subprocess.run(['mount', '-o', 'remount,size=9m', str(small_disk)], check=True)
    index.add(make_entries(800, 'new'))
    assert index.stats()['videos'] == 850


def test_two_writers(root: Path) -> None:
    index = MomentIndex.open(root)
    with Store(root).lock('build'):
        for operation in (
            lambda: index.add(make_entries(1, 'new')),
            lambda: index.remove(['v1']),
            lambda: index.compact(),
            lambda: FaissIndex(root).build(make_entries(1), overwrite=True),
        ):
            with pytest.raises(IndexLockedError, match=r'written by process \d+ on .*\(build, sin'):
                operation()
        index.search(make_queries(1))
        MomentIndex.open(root)
    index.remove(['v1'])


def test_two_writing_processes(root: Path) -> None:
    code = (
        'import time\n'
        'from demul_mm.index.store import Store\n'
        f'with Store({str(root)!r}).lock("add"):\n'
        '    print("held", flush=True)\n'
        '    time.sleep(600)\n'
    )
    child = Program([sys.executable, '-c', code], stdout=subprocess.PIPE)
    try:
        assert child.stdout.read(4) == b'held'
        index = MomentIndex.open(root)
        with pytest.raises(IndexLockedError, match=f'written by process {child.pid} on'):
            index.add(make_entries(1, 'new'))
    finally:
        child.kill()
        child.wait()
    index.add(make_entries(1, 'new'))  # the lock went with the process


def test_readers_keep_their_generation(root: Path) -> None:
    queries = make_queries(3)
    reader, writer = MomentIndex.open(root), MomentIndex.open(root)
    before = reader.search(queries)
    writer.add(make_entries(100, 'new'))
    assert_same_hits(reader.search(queries).hits, before.hits)
    writer.remove([f'v{i}' for i in range(20, 100)])
    writer.compact()  # the files that the reader has open are deleted by now
    assert_same_hits(reader.search(queries).hits, before.hits)
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.stats()['videos'] == writer.stats()['videos'] == 249 + 100 - 80
    assert_same_hits(reader.search(queries).hits, writer.search(queries).hits)


def test_two_writers_in_turn_see_each_other(root: Path) -> None:
    first, second = MomentIndex.open(root), MomentIndex.open(root)
    first.add(make_entries(10, 'a'))
    second.add(make_entries(10, 'b'))
    first.remove(['b3'])
    second.refresh()
    assert second.stats()['videos'] == 249 + 20 - 1


def test_build_does_not_overwrite_unasked(root: Path) -> None:
    with pytest.raises(FileExistsError, match='holds an index of 249 videos; add to it'):
        FaissIndex(root).build(make_entries(5))
    reader = MomentIndex.open(root)
    FaissIndex(root).build(make_entries(5), overwrite=True)
    assert reader.stats()['videos'] == 249
    assert reader.refresh()
    assert reader.stats()['videos'] == 5


class Stopped(Exception):
    pass


def stop_after(entries: list, number: int):
    yield from entries[:number]
    raise Stopped


def test_resumed_build_is_the_uninterrupted_one(tmp_path: Path) -> None:
    entries = make_entries(250)
    whole = ExactIndex(tmp_path / 'whole', segment_videos=100)
    whole.build(entries)
    parts = ExactIndex(tmp_path / 'parts', segment_videos=100)
    for number in (130, 150, 230):
        with pytest.raises(Stopped):
            parts.build(stop_after(entries, number))
    parts.build(entries)
    tables = [lance.dataset(i.path / 'videos.lance').to_table() for i in (whole, parts)]
    assert tables[0].equals(tables[1])


def test_resuming_with_something_else_is_refused(tmp_path: Path) -> None:
    entries = make_entries(250)
    index = ExactIndex(tmp_path, segment_videos=100)
    with pytest.raises(Stopped):
        index.build(stop_after(entries, 230))
    with pytest.raises(IndexMismatchError, match='200 videos that are not among these'):
        index.build(make_entries(50, 'other'))
    with pytest.raises(IndexMismatchError, match='200 videos that are not among these'):
        index.build(Source(make_entries(50, 'other')))
    other = ExactIndex(tmp_path, segment_videos=100, num_prototypes=2)
    with pytest.raises(IndexMismatchError, match='holds an unfinished build with'):
        other.build(entries)
    other.build(make_entries(50, 'other'), resume=False)
    assert other.stats()['videos'] == 50


def test_a_removal_leaves_an_unfinished_addition_alone(root: Path) -> None:
    index = MomentIndex.open(root)
    source = Source(make_entries(250, 'new'))
    with pytest.raises(Stopped):
        index.add(stop_after(make_entries(250, 'new'), 230))
    index.remove(['v5'])
    index.compact()
    assert 'new3' not in index.search(make_entries(4, 'new')[3].moments).hits[0].videos
    index.add(source)
    assert source.loaded == [f'new{i}' for i in range(200, 250)]
    assert index.stats()['videos'] == 248 + 250
    assert index.search(make_entries(4, 'new')[3].moments).hits[0].videos[0] == 'new3'


def test_a_resumed_replacement_replaces(root: Path) -> None:
    """Also what the killed run had written."""
    index = MomentIndex.open(root)
    newer = [
        VideoEntry(old.video_id, other.moments, other.spans, 60.0)
        for old, other in zip(make_entries(120), make_entries(120, 'new'))
    ]
    with pytest.raises(Stopped):
        index.add(stop_after(newer, 110), on_existing='replace')
    index.add(Source(newer), on_existing='replace')
    assert index.stats()['videos'] == 250  # v17, removed before, is back
    for number in (3, 115):
        hits = index.search(newer[number].moments[:1]).hits[0]
        assert hits.videos.count(f'v{number}') == 1
        assert hits.scores[0] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize('on_existing', ['skip', 'error'])
def test_a_replacement_is_not_resumed_as_something_else(root: Path, on_existing: str) -> None:
    """Ids stay unique, whatever the next addition says of videos that are there."""
    index = MomentIndex.open(root)
    newer = make_entries(100) + make_entries(20, 'new')
    with pytest.raises(Stopped):
        index.add(stop_after(newer, 110), on_existing='replace')
    with pytest.raises(IndexMismatchError, match=r"replaces 99 videos.*such as 'v0'"):
        index.add(Source(newer), on_existing=on_existing)
    index.add(Source(make_entries(9, 'new')), on_existing=on_existing, resume=False)
    there = lance.dataset(root / 'videos.lance').to_table(['id'])['id'].to_pylist()
    assert sorted(there) == sorted(
        [f'v{i}' for i in range(250) if i != 17] + [f'new{i}' for i in range(9)]
    )


def test_an_addition_is_resumed_by_what_was_advised(root: Path) -> None:
    index = MomentIndex.open(root)
    entries = make_entries(120, 'new') + make_entries(9)
    with pytest.raises(ValueError, match='is in the index already'):
        index.add(entries)
    source = Source(entries)
    index.add(source, on_existing='skip')
    assert source.loaded == [f'new{i}' for i in range(100, 120)]
    assert index.stats()['videos'] == 249 + 120


def test_two_readers_beside_a_writer(root: Path) -> None:
    """Other processes open and search all the while, and see one version or another, whole."""
    code = (
        'import sys, pathlib\n'
        'from demul_mm.index import MomentIndex\n'
        'from tests.index.corpus import make_queries\n'
        f'root, queries = {str(root)!r}, make_queries(2)\n'
        'print("ready", flush=True)\n'
        'while not pathlib.Path(root, "stop").exists():\n'
        '    index = MomentIndex.open(root)\n'
        '    hits = index.search(queries, mode="exact").hits\n'
        '    assert index.stats()["videos"] in (249, 279), index.stats()\n'
        '    assert all(len(h.videos) == 200 for h in hits)\n'
    )
    readers = [
        Program(
            [sys.executable, '-c', code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout.read(5) == b'ready'
    index = MomentIndex.open(root)
    for number in range(6):
        index.add(make_entries(30, f'new{number}_'))
        index.remove([f'new{number}_{i}' for i in range(30)])
        index.compact()
    (root / 'stop').touch()
    for reader in readers:
        _, errors = reader.communicate(timeout=120)
        assert reader.returncode == 0, errors.decode()[-2000:]


def test_stats_beside_a_writer_that_deletes_a_cache(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, listed = MomentIndex.open(root), Path.glob
    before = index.stats()

    def with_one_gone(folder: Path, pattern: str) -> Iterator[Path]:
        yield from listed(folder, pattern)
        yield folder / 'deleted-meanwhile.faiss'

    monkeypatch.setattr(Path, 'glob', with_one_gone)
    assert index.stats() == before


def use(path: str, kind: type[MomentIndex]) -> None:
    """Everything that changes an index, at an address; the same as in a folder."""
    index, reference = kind(path, segment_videos=100), kind(segment_videos=100)
    for one in (index, reference):
        one.build(make_entries(250))
        one.add(make_entries(20, 'new'), on_existing='replace')
        one.remove(['v3', 'new4'])
        one.compact()
    opened = MomentIndex.open(path)
    assert opened.stats()['videos'] == 268
    assert opened.stats()['path'].endswith('corpus')
    queries = make_queries(3)
    expected = reference.search(queries, **EVERYTHING).hits
    for one in (index, opened):
        assert_same_hits(one.search(queries, **EVERYTHING).hits, expected, atol=1e-6)


def test_an_address_is_a_path_like_any_other(tmp_path: Path) -> None:
    use(f'file://{tmp_path}/corpus', FaissIndex)
    assert (tmp_path / 'corpus' / 'videos.lance').is_dir()


def test_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a local server of the protocol."""
    server = pytest.importorskip('moto.server', reason='pip install moto[s3] flask flask-cors')
    running = server.ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    running.start()
    try:
        host, port = running.get_host_and_port()
        endpoint = f'http://{host}:{port}'
        for key, value in dict(
            AWS_ENDPOINT=endpoint,
            AWS_ALLOW_HTTP='true',
            AWS_REGION='us-east-1',
            AWS_ACCESS_KEY_ID='key',
            AWS_SECRET_ACCESS_KEY='secret',
            XDG_CACHE_HOME=str(tmp_path),
        ).items():
            monkeypatch.setenv(key, value)
        urllib.request.urlopen(urllib.request.Request(f'{endpoint}/bucket', method='PUT'))
        use('s3://bucket/corpus', FaissIndex)
        with pytest.raises(FileNotFoundError, match='s3://bucket/other holds no index'):
            MomentIndex.open('s3://bucket/other')
    finally:
        running.stop()
    assert list(tmp_path.rglob('*.arrow'))  # what makes searching fast is on this machine


@pytest.mark.slow
def test_killed_anywhere(tmp_path: Path) -> None:
    """SIGKILL at moments spread over a build, an addition, a removal, a merge."""
    script = Path(__file__).with_name('kill_points.py')
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert set(counts) == {'build', 'add', 'remove', 'compact'}
    assert min(counts.values()) >= 6
