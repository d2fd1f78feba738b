"""Kill an operation at one point after another, and look at what is left each time.

Run by test_disk.py as a process of its own: every attempt is a fork, and forking is safe only
before any thread pool has been started, so this process itself never computes.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).parents[2]))

import lance
from lance.dataset import DatasetOptimizer, MergeInsertBuilder

from demul_mm.index import FaissIndex, MomentIndex, faiss_index
from tests.index.corpus import Source, assert_same_hits, make_entries, make_queries

OLD, NEW = make_entries(45), make_entries(35, 'new')
QUERIES = make_queries(2)
faiss_index.FEW = 100
# Before and after each of these; what happens inside of them, SIGKILL by the clock meets.
STEPS = [
    (lance, 'write_dataset'),
    (MergeInsertBuilder, 'execute'),
    (lance.LanceDataset, 'drop'),
    (lance.LanceDataset, 'cleanup_old_versions'),
    (DatasetOptimizer, 'compact_files'),
    (os, 'replace'),
]
TIMES = 6  # by the clock, spread over the operation


def start(action: Callable[[], object]) -> int:
    """Run in a fork; its process id."""
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
    return pid


def wait(pid: int) -> int:
    """Exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at(point: int, count_file: Path | None) -> None:
    """Arrange for SIGKILL at the ``point``-th event: before or after a step.

    With a file, nothing dies and the file says how many events there were.
    """
    count = 0

    def event() -> None:
        nonlocal count
        if count_file:
            count_file.write_text(str(count))
        elif count == point:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def counted(step: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            event()
            result = step(*args, **kwargs)
            event()
            return result

        return run

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))


def make(root: Path) -> FaissIndex:
    return FaissIndex(root, kind='hnsw', segment_videos=15)


OPERATIONS: dict[str, Callable[[Path], object]] = {
    'build': lambda root: make(root).build(Source(OLD)),
    'add': lambda root: MomentIndex.open(root).add(Source(NEW), on_existing='replace'),
    'remove': lambda root: MomentIndex.open(root).remove(
        [f'v{i}' for i in range(10)], missing='ignore'
    ),
    'compact': lambda root: MomentIndex.open(root).compact(),
}


def checker(root: Path, before: Path | None, after: Path) -> tuple[int, Connection]:
    """A process that checks ``root`` whenever it is sent something, and answers if all is well.

    One for an operation, for it must not be this process that computes.
    """
    ours, theirs = Pipe()

    def serve() -> None:
        ours.close()
        good = [
            MomentIndex.open(p).search(QUERIES, mode='exact').hits for p in (before, after) if p
        ]
        while theirs.recv():
            check(root, before, after, good)
            theirs.send(True)

    pid = start(serve)
    theirs.close()
    return pid, ours


def check(root: Path, before: Path | None, after: Path, good: list) -> None:
    """What is left is the index before or the one after, whole; again, and it is the one after."""
    name = root.name
    built = bool(list((root / 'videos.lance').glob('_versions/*.manifest')))
    if before or built:
        found = MomentIndex.open(root).search(QUERIES, mode='exact').hits
        assert any([h.video_ids for h in found] == [h.video_ids for h in g] for g in good)
    if name != 'build' or not built:
        OPERATIONS[name](root)
    index = MomentIndex.open(root)
    assert_same_hits(index.search(QUERIES, mode='exact').hits, good[-1], atol=1e-6)
    assert index.stats()['videos'] == MomentIndex.open(after).stats()['videos']
    index.add([])  # whoever adds next tidies up what was killed after its commit
    index.remove([])
    assert not list(root.rglob('*.tmp'))
    assert not (root / 'pending.lance').exists()
    table = lance.dataset(root / 'videos.lance')
    used = {Path(f.data_files()[0].path).stem for f in table.get_fragments()}
    assert {p.stem for p in (root / 'videos.lance' / 'data').iterdir()} == used
    assert {p.stem.split('-')[0] for p in (root / 'cache').glob('*.arrow')} == used


def attempt(
    name: str, root: Path, before: Path | None, point: int, count: Path | None, seconds: float
) -> tuple[int, float]:
    """One run of an operation on a copy of ``before``: its exit status, and how long it took.

    Args:
        name: of the operation.
        root: folder to work in.
        before: folder of the index before.
        point: number of the event to die at.
        count: file for the number of events.
        seconds: to die after.
    """
    shutil.rmtree(root, ignore_errors=True)
    if before:
        shutil.copytree(before, root)

    def run() -> None:
        die_at(point, count)
        OPERATIONS[name](root)

    begin = time.perf_counter()
    pid = start(run)
    if seconds:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return wait(pid), time.perf_counter() - begin


def main(folder: Path) -> None:
    counts = {}
    before = None
    for name in OPERATIONS:
        after, root, count_file = folder / f'after_{name}', folder / name, folder / 'events'
        status, seconds = attempt(name, after, before, -1, count_file, 0)
        assert status == 0
        events = int(count_file.read_text()) + 1
        points = [(point, 0.0) for point in range(events)]
        points += [(-1, seconds * (i + 1) / (TIMES + 1)) for i in range(TIMES)]
        killed, (pid, checks) = 0, checker(root, before, after)
        for point, delay in points:
            status, _ = attempt(name, root, before, point, None, delay)
            assert status in (-signal.SIGKILL, 0), f'{name} failed at {point}, {delay}: {status}'
            assert status or delay, f'{name} did not die at point {point}'
            killed += status != 0
            checks.send(True)
            try:
                checks.recv()
            except EOFError:
                raise AssertionError(f'{name}, point {point}, {delay:.2f} s') from None
        checks.send(False)
        assert wait(pid) == 0
        counts[name] = killed
        before = after
    print(json.dumps(counts))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
