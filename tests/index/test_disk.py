"""Provenance, damage, full disks, other writers, readers meanwhile."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
)
from demul_mm.index import storage as storage_module
from demul_mm.index.storage import writer_lock

from .corpus import Source, assert_same_hits, make_entries, make_queries


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
    (tmp_path / 'manifest.json').write_text('{"format": "something else"}')
    with pytest.raises(IndexFormatError, match='does not belong to an index of this package'):
        MomentIndex.open(tmp_path)


def rewrite_manifest(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((root / 'manifest.json').read_text())
    change(content)
    (root / 'manifest.json').write_text(json.dumps(content))


def test_newer_version(root: Path) -> None:
    rewrite_manifest(root, lambda m: m.update(version=7))
    with pytest.raises(IndexFormatError, match='version 7; this demul_mm reads version 1: update'):
        MomentIndex.open(root)


def test_altered_manifest(root: Path) -> None:
    rewrite_manifest(root, lambda m: m['counts'].update(videos=3))
    with pytest.raises(IndexDamagedError, match=r'manifest\.json does not match its checksum'):
        MomentIndex.open(root)
    (root / 'manifest.json').write_text('{"format": ')
    with pytest.raises(IndexDamagedError, match='not readable JSON'):
        MomentIndex.open(root)


def data_files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob('*') if p.suffix in ('.bin', '.faiss') and p.stat().st_size)


def test_every_flipped_byte_is_found(root: Path) -> None:
    files = data_files(root)
    assert {p.name for p in files} >= {
        *('moments.bin', 'spans.bin', 'prototypes.bin', 'rows.bin', 'durations.bin', 'ids.bin'),
        *('hashes.bin', 'metadata.bin', 'removed-000002.bin', 'level1-000001.faiss'),
    }
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(IndexDamagedError, match=rf'{path.name} does not match its checksum'):
            MomentIndex.open(root)
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    MomentIndex.open(root)


def test_every_truncated_or_missing_file_is_found(root: Path) -> None:
    for path in data_files(root):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(IndexDamagedError, match=f'{path.name} has {len(content) - 1} bytes'):
            MomentIndex.open(root, verify=False)
        path.unlink()
        with pytest.raises(IndexDamagedError, match=f'{path.name} is missing'):
            MomentIndex.open(root, verify=False)
        path.write_bytes(content)


class FullDisk:
    """A file on a disk that takes so many bytes in all and no more."""

    left = 0

    def __init__(self, path: Path, mode: str) -> None:
        self._file = open(path, mode)  # noqa: SIM115
        self.writing = 'w' in mode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> 'FullDisk':
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        FullDisk.left -= len(data)
        if FullDisk.left < 0:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return self._file.write(data)


@pytest.mark.parametrize('left', [0, 300, 4_000, 30_000, 60_000])
def test_full_disk(root: Path, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in an addition the space ends: a clear line, and the index is as it was."""
    queries = make_queries(3)
    before = MomentIndex.open(root)
    files = {p: p.read_bytes() for p in data_files(root)}
    expected = before.search(queries)
    monkeypatch.setattr('demul_mm.index.faiss_index.TAIL', 50)  # so that level 1 is written too
    index = MomentIndex.open(root)
    with monkeypatch.context() as patched:
        patched.setattr(storage_module, 'open', FullDisk, raising=False)
        FullDisk.left = left
        with pytest.raises(IndexStorageError, match='the disk is full'):
            index.add(make_entries(150, 'new'))
    assert not list(root.rglob('*.tmp'))
    for path, content in files.items():
        assert path.read_bytes() == content
    for reader in (before, index, MomentIndex.open(root)):
        assert_same_hits(reader.search(queries).hits, expected.hits)
    index.add(make_entries(150, 'new'))
    assert index.stats()['videos'] == 249 + 150


def test_full_disk_while_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ExactIndex(tmp_path, segment_videos=100)
    source = Source(make_entries(250))
    with monkeypatch.context() as patched:
        patched.setattr(storage_module, 'open', FullDisk, raising=False)
        FullDisk.left = 90_000  # one segment and a part
        with pytest.raises(IndexStorageError, match='it goes on where it stopped') as caught:
            index.build(source)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError, match='its build was not finished; run it again'):
        MomentIndex.open(tmp_path)
    source.loaded.clear()
    index.build(source)
    assert source.loaded == [f'v{i}' for i in range(100, 250)]


def test_two_writers(root: Path) -> None:
    index = MomentIndex.open(root)
    with writer_lock(root, 'build'):
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
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with writer_lock(root, 'add'):
            os.write(tell, b'held')
            signal.pause()
    try:
        assert os.read(told, 4) == b'held'
        index = MomentIndex.open(root)
        with pytest.raises(IndexLockedError, match=f'written by process {child} on'):
            index.add(make_entries(1, 'new'))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
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
    for path in data_files(whole.path):
        assert path.read_bytes() == (parts.path / path.relative_to(whole.path)).read_bytes()
    assert whole.snapshot.manifest == parts.snapshot.manifest


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


@pytest.mark.slow
def test_killed_anywhere(tmp_path: Path) -> None:
    """SIGKILL before and after writes and renames of a build, an addition, a removal, a merge."""
    script = Path(__file__).with_name('kill_points.py')
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert set(counts) == {'build', 'add', 'remove', 'compact'}
    assert min(counts.values()) >= 6
