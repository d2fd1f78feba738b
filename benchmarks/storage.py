"""Compare how two checkouts keep an index: speed, size and recall, in turns on one machine.

Checkouts run in processes of their own, in turns, so that other load on the machine affects all
alike; the table shows medians over the rounds and the ratio of the last to the first. Corpora are
synthetic (corpus_data.py), with 29 moments a video.

Examples:
    git worktree add ../before COMMIT
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/storage.py ../before . --size 10000
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/storage.py ../before . \\
        --size 100000 --rounds 1 --repeats 30
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import peak_mb, percentiles, timed

from demul_mm.cli import run_tool, tool_parser

NAMES = {
    'build_s': 'build (s)',
    'build_cpu_s': 'build, processor time with making the videos (s)',
    'kb_a_video': 'KB a video on disk',
    'open_s': 'open, without verifying (s)',
    'verify_s': 'open and verify (s)',
    'verify_cpu_s': 'open and verify, processor time (s)',
    'one_p50_ms': '1 query, p50 (ms)',
    'one_p95_ms': '1 query, p95 (ms)',
    'one_cpu_ms': '1 query, processor time (ms)',
    'batch_p50_ms': '64 queries, p50 (ms)',
    'batch_p95_ms': '64 queries, p95 (ms)',
    'batch_cpu_ms': '64 queries, processor time (ms)',
    'exact_p50_ms': '1 query, exact mode, p50 (ms)',
    'exact_cpu_ms': '1 query, exact mode, processor time (ms)',
    'recall_200': "recall of exact mode's best 200 videos",
    'add_s': 'add 1,000 videos (s)',
    'add_cpu_s': 'add 1,000 videos, processor time (s)',
    'after_p50_ms': '1 query after it, p50 (ms)',
    'remove_s': 'remove 1,000 videos (s)',
    'remove_cpu_s': 'remove 1,000 videos, processor time (s)',
    'compact_s': 'compact (s)',
    'compact_cpu_s': 'compact, processor time (s)',
    'memory_mb': 'memory at most (MB)',
}


def searches(
    index: Any, vectors: np.ndarray, size: int, count: int, name: str, mode: str = 'fast'
) -> dict[str, float]:
    """Latencies of ``count`` searches for ``size`` queries each."""
    index.search(vectors[:size], mode=mode)
    parts = [
        np.take(vectors, range(i, i + size), 0, mode='wrap') for i in range(0, count * size, size)
    ]
    runs = [timed(lambda part=part: index.search(part, mode=mode)) for part in parts]
    wall, cpu = (percentiles(column) for column in list(zip(*runs))[:2])
    return {
        f'{name}_p50_ms': wall['p50'],
        f'{name}_p95_ms': wall['p95'],
        f'{name}_cpu_ms': cpu['p50'],
    }


def measure(size: int, repeats: int, root: Path) -> dict[str, float]:
    """Measure the checkout whose code this process runs."""
    from corpus_data import SyntheticCorpus

    from demul_mm.index import FaissIndex, MomentIndex, VideoEntry

    corpus = SyntheticCorpus(size, 0, 128, clips=14)
    vectors = corpus.truth(64).vectors
    result: dict[str, float] = {}
    index = FaissIndex(root)
    wall, cpu, _ = timed(lambda: index.build(corpus))
    result.update(build_s=wall - corpus.seconds, build_cpu_s=cpu)  # with making the videos
    held = sum(path.stat().st_size for path in root.rglob('*') if path.is_file())
    result['kb_a_video'] = held / size / 1000
    result['verify_s'], result['verify_cpu_s'], _ = timed(lambda: MomentIndex.open(root))
    result['open_s'], _, index = timed(lambda: MomentIndex.open(root, verify=False))
    result |= searches(index, vectors, 1, repeats, 'one')
    result |= searches(index, vectors, 64, max(repeats // 15, 1), 'batch')
    exact = index.search(vectors, mode='exact').hits
    result |= searches(index, vectors, 1, max(repeats // 4, 1), 'exact', 'exact')
    found = index.search(vectors).hits
    shares = [np.isin(e.videos[:200], f.videos).mean() for e, f in zip(exact, found)]
    result['recall_200'] = float(np.mean(shares))
    new = [
        VideoEntry(f'new{e.video_id}', e.moments, e.spans, e.duration)
        for e in corpus.block(size // 1000 + 7)
    ]
    result['add_s'], result['add_cpu_s'], _ = timed(lambda: index.add(new))
    result['after_p50_ms'] = searches(index, vectors, 1, repeats, 'after')['after_p50_ms']
    gone = [e.video_id for e in new]
    result['remove_s'], result['remove_cpu_s'], _ = timed(lambda: index.remove(gone))
    result['compact_s'], result['compact_cpu_s'], _ = timed(index.compact)
    result['memory_mb'] = peak_mb()
    return result


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('checkouts', type=Path, nargs='+', help='folders; first: the reference')
    parser.add_argument('--size', type=int, default=10_000, help='videos (default 10,000)')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument(
        '--repeats',
        type=int,
        default=60,
        help='timed single queries; a fifteenth of them batches, a quarter exact ones (default 60)',
    )
    parser.add_argument('--worker', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.size, args.repeats, args.worker)))
        return
    rounds: list[list[dict[str, float]]] = [[] for _ in args.checkouts]
    for _ in range(args.rounds):
        for checkout, results in zip(args.checkouts, rounds):
            folder = Path(tempfile.mkdtemp(prefix='demul_storage_'))
            options = ['--size', str(args.size), '--repeats', str(args.repeats)]
            options += ['--worker', str(folder / 'index'), '.']
            done = subprocess.check_output(
                [sys.executable, str(Path(__file__).resolve()), *options],
                env=dict(os.environ, PYTHONPATH=str(checkout.resolve())),
                text=True,
            )
            shutil.rmtree(folder)
            results.append(json.loads(done.splitlines()[-1]))
    print('| | ' + ' | '.join(map(str, args.checkouts)) + ' | ratio |')
    print('| --- |' + ' --- |' * (len(args.checkouts) + 1))
    for key, name in NAMES.items():
        values = [float(np.median([r[key] for r in results])) for results in rounds]
        shown = ' | '.join(f'{value:.4g}' for value in values)
        print(f'| {name} | {shown} | {values[-1] / values[0]:.2f} |')


if __name__ == '__main__':
    run_tool(main)
