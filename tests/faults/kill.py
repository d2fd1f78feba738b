"""Kill training, extraction, index build and add with SIGKILL at random moments; nothing is lost.

    python tests/faults/kill.py [KILLS] [SEED]

Each operation is started, killed, and started again as it was left, until it has been killed KILLS
times (default 20); whenever it ends, what it leaves must equal what an undisturbed run leaves, and
it begins anew. After every kill, what can be seen is whole, and no less than before. Every attempt
is a fork, so that the seconds of the imports pass once; this process itself never computes.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ['OMP_NUM_THREADS'] = '1'
os.environ['PYTHONWARNINGS'] = 'ignore'
sys.path.insert(0, str(Path(__file__).parents[2]))

import av
import numpy as np
import torch

from demul_mm.apis.extraction import Backbone, extract, open_writer
from demul_mm.datasets import PackedStore
from demul_mm.engine.checkpoint import allow_mmengine_checkpoints, read_checkpoint
from demul_mm.files import list_by_id
from demul_mm.index import FaissIndex, MomentIndex
from tests.index.corpus import Source, make_entries, make_queries

ROOT = Path(__file__).parents[2]
FORK = multiprocessing.get_context('fork')
CLIPS = dict(clip_seconds=0.1, frames_per_clip=1, size=16)


class ColourMeans(torch.nn.Module):
    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.float().mean((2, 3, 4))


def train(root: Path) -> None:
    tool = ROOT / 'tools' / 'train.py'
    pause = ('--cfg-options', 'model.pause=0.02')
    config = ROOT / 'tests' / 'engine' / 'toy_config.py'
    sys.argv = [str(tool), str(config), '--work-dir', str(root), '--seed', '1', '--resume', *pause]
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(tool), run_name='__main__')


def epochs(root: Path) -> int:
    """Epochs that a checkpoint has; each can be read."""
    allow_mmengine_checkpoints()
    return max((read_checkpoint(p)['meta']['epoch'] for p in root.glob('epoch_*.pth')), default=0)


def weights(root: Path) -> str:
    (last,) = root.glob('epoch_4.pth')
    state = read_checkpoint(last)['state_dict']
    return _hash(*(v.numpy().tobytes() for v in state.values()))


def film(path: Path, number: int) -> None:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=20)
        stream.width = stream.height = 32
        for index in range(100):
            picture = np.full((32, 32, 3), (number * 20 + index) % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())


def films(folder: Path) -> None:
    for number in range(12):
        film(folder / f'{number}.mp4', number)


def extract_all(folder: Path, root: Path) -> None:
    backbone = Backbone(ColourMeans(), CLIPS, {'made_by': 'a test'}, 'cpu')
    videos = {k: str(folder / file) for k, file in list_by_id(folder, ('.mp4',)).items()}
    with open_writer(str(root), 'packed', backbone) as writer:
        extract(videos, backbone, writer, batch=16, workers=0)


def rows(root: Path) -> int:
    """Videos whose features are safe: in the journal, or in the finished store."""
    journal, manifest = root / 'journal.jsonl', root / 'manifest.json'
    if manifest.exists():
        store = PackedStore(str(root))
        assert all(store.verify(video_id) for video_id in store.ids())
        return len(store)
    return max(0, journal.read_text().count('\n') - 1) if journal.exists() else 0


def features(root: Path) -> str:
    return _hash(*((root / name).read_bytes() for name in ('data.bin', 'manifest.json')))


def build(root: Path) -> None:
    if videos(root):  # killed after all was done: building over an index is refused
        return
    FaissIndex(root, kind='flat', segment_videos=40).build(Source(make_entries(300)))


def add(built: Path, root: Path) -> None:
    if not root.exists():
        shutil.copytree(built, root.with_suffix('.copy'), dirs_exist_ok=True)
        root.with_suffix('.copy').rename(root)
    MomentIndex.open(root).add(Source(make_entries(250, 'new')), on_existing='skip')


def videos(root: Path) -> int:
    """Videos of the index that can be opened, and whose checksums fit."""
    try:
        return MomentIndex.open(root).stats()['videos']
    except FileNotFoundError:
        return 0


def hits(root: Path) -> str:
    index = MomentIndex.open(root)
    found = index.search(make_queries(5), mode='exact').hits
    answers = [[hit.video_ids, np.round(hit.scores, 4).tolist()] for hit in found]
    return _hash(json.dumps([index.stats()['videos'], answers]).encode())


class Operation(NamedTuple):
    """What is killed.

    Attributes:
        run: begins, or goes on with what is there.
        seen: how much of it is safe; raises if something is not whole.
        result: a hash of what it leaves at the end.
    """

    run: Callable[[Path], object]
    seen: Callable[[Path], int]
    result: Callable[[Path], str]


def ask(function: Callable[[Path], Any], root: Path) -> Any:
    """What a function returns in a fork."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=lambda: there.send(function(root)))
    process.start()
    while process.is_alive() and not here.poll(0.01):
        pass
    if not here.poll(0.1):
        raise AssertionError(f'{function} failed on {root}')
    answer = here.recv()
    process.join()
    return answer


def attempt(operation: Operation, root: Path, seconds: float | None) -> bool:
    """Run in a fork, killed after some seconds; whether it came to its end before."""

    def quietly() -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        operation.run(root)

    process = FORK.Process(target=quietly)
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(f'{root.name} ended with {process.exitcode}')
    return process.exitcode == 0


def torture(operation: Operation, root: Path, kills: int, draw: random.Random) -> str:
    """Kill an operation so many times; what was found, in one line."""
    whole = root.with_name(f'{root.name}_whole')
    begun = time.monotonic()
    assert attempt(operation, whole, None)
    full = time.monotonic() - begun
    expected, all_of_it = ask(operation.result, whole), ask(operation.seen, whole)
    killed = ended = safe = 0
    done = False
    while killed < kills or not done:
        moment = draw.uniform(0, full) if killed < kills else None
        done = attempt(operation, root, moment)
        killed += not done
        now = ask(operation.seen, root)
        assert now >= safe, f'{root.name}: {safe} were safe, {now} are left'
        safe = now
        if done:
            assert now == all_of_it
            assert ask(operation.result, root) == expected, f'{root.name} ended otherwise'
            ended, safe = ended + 1, 0
            shutil.rmtree(root)
    return f'{root.name}: killed {killed} times, came to its end {ended} times, nothing lost'


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b''.join(parts)).hexdigest()


def main(kills: int = 20, seed: int = 0) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ask(films, folder / 'films')
        built = folder / 'build_whole'  # which the operation before `add` leaves
        operations = {
            'train': Operation(train, epochs, weights),
            'extract': Operation(partial(extract_all, folder / 'films'), rows, features),
            'build': Operation(build, videos, hits),
            'add': Operation(partial(add, built), videos, hits),
        }
        for number, (title, operation) in enumerate(operations.items()):
            draw = random.Random(seed * 100 + number)
            print(torture(operation, folder / title, kills, draw), flush=True)


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
