"""Kill an operation at one point after another, and look at what is left each time.

Run by test_disk.py as a process of its own: every attempt is a fork, and forking is safe only
before any thread pool has been started, so this process itself never computes.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).parents[2]))

from demul_mm.index import FaissIndex, MomentIndex, faiss_index, storage
from tests.index.corpus import Source, assert_same_hits, make_entries, make_queries

OLD, NEW = make_entries(90), make_entries(70, 'new')
QUERIES = make_queries(2)
faiss_index.TAIL = 20
storage.os.fsync = lambda number: None  # outlives a power cut, which is not what is tried here
POINTS = 6  # spread over an operation; the last events, around the commit, are all tried
LAST = 4


def in_child(action: Callable[[], object]) -> int:
    """Run in a fork; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at(point: int, count_file: Path | None = None) -> None:
    """Arrange for SIGKILL at the ``point``-th event: a write, or before or after a rename.

    With a file, nothing dies and the file says how many events there were.
    """
    count = 0
    write, replace = storage.CheckedFile.write, os.replace

    def event() -> None:
        nonlocal count
        if count_file:
            count_file.write_text(str(count))
        elif count == point:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def counted_write(self, data) -> None:
        write(self, data)
        self._file.flush()
        event()

    def counted_replace(source, target) -> None:
        event()
        replace(source, target)
        event()

    storage.CheckedFile.write = counted_write
    storage.os.replace = counted_replace


def make(root: Path) -> FaissIndex:
    return FaissIndex(root, kind='hnsw', segment_videos=30)


OPERATIONS: dict[str, Callable[[Path], object]] = {
    'build': lambda root: make(root).build(Source(OLD)),
    'add': lambda root: MomentIndex.open(root).add(Source(NEW), on_existing='replace'),
    'remove': lambda root: MomentIndex.open(root).remove(
        [f'v{i}' for i in range(20)], missing='ignore'
    ),
    'compact': lambda root: MomentIndex.open(root).compact(),
}


def check(root: Path, before: Path | None, after: Path) -> None:
    """What is left is the index before or the one after, whole; again, and it is the one after."""
    name = root.name
    good = [MomentIndex.open(p).search(QUERIES, mode='exact').hits for p in (before, after) if p]
    if before or (root / 'manifest.json').exists():
        found = MomentIndex.open(root).search(QUERIES, mode='exact').hits
        assert any([h.video_ids for h in found] == [h.video_ids for h in g] for g in good)
    if name != 'build' or not (root / 'manifest.json').exists():
        OPERATIONS[name](root)
    index = MomentIndex.open(root)
    assert_same_hits(index.search(QUERIES, mode='exact').hits, good[-1], atol=1e-6)
    assert index.stats()['videos'] == MomentIndex.open(after).stats()['videos']
    index.remove([])  # whoever writes next tidies up what was killed after its commit
    assert not list(root.rglob('*.tmp'))
    assert not (root / 'pending.json').exists()
    held = {p.name for p in (root / 'segments').iterdir()}
    assert held == {s['name'] for s in index.snapshot.manifest['segments']}


def attempt(name: str, root: Path, before: Path | None, point: int, count: Path | None) -> int:
    """One run of an operation on a copy of ``before``; its exit status."""
    shutil.rmtree(root, ignore_errors=True)
    if before:
        shutil.copytree(before, root)

    def run() -> None:
        die_at(point, count)
        OPERATIONS[name](root)

    return in_child(run)


def main(folder: Path) -> None:
    counts = {}
    before = None
    for name in OPERATIONS:
        after, root, count_file = folder / f'after_{name}', folder / name, folder / 'events'
        assert attempt(name, after, before, -1, count_file) == 0
        events = int(count_file.read_text()) + 1
        spread = range(0, events, max(1, events // POINTS))
        points = sorted({*spread, *range(max(0, events - LAST), events)})
        for point in points:
            status = attempt(name, root, before, point, None)
            assert status == -signal.SIGKILL, f'{name} did not die at point {point}: {status}'
            status = in_child(partial(check, root, before, after))
            assert status == 0, f'{name}, point {point}'
        counts[name] = len(points)
        before = after
    print(json.dumps(counts))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
