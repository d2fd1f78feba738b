"""Measure the corpus index: speed, size and what it loses, against exact and exhaustive search.

For each corpus size: building, adding, removing, bytes, latencies of the steps for one query and
for batches of 64, what level 1 and the whole search lose against exact search, and the same
queries by exhaustive clip scoring. Everything is one run; take ratios, not seconds, elsewhere.

Examples:
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 100000 1000000 --out r.json
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 --options kind=ivf_pq
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --vectors work_dirs/demo/vectors
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus_data import Corpus, EnlargedCorpus, SyntheticCorpus, Truth
from exhaustive import ExhaustiveClips, reference_moments
from mmengine.config import DictAction
from tqdm import tqdm

from demul_mm.index import MomentHits, MomentIndex
from demul_mm.registry import INDEXES

BATCH = 64


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', type=int, nargs='+', default=[10_000], help='videos')
    parser.add_argument('--dim', type=int, default=128, help='S of synthetic vectors')
    parser.add_argument('--queries', type=int, default=1000, help='for recall (default 1000)')
    parser.add_argument('--repeats', type=int, default=200, help='timed single queries')
    parser.add_argument('--vectors', help='folder of trained vectors, enlarged by distractors')
    parser.add_argument('--query-vectors', help='safetensors of trained queries with their truth')
    parser.add_argument('--backend', default='FaissIndex')
    parser.add_argument('--options', nargs='+', action=DictAction, default={})
    parser.add_argument('--search', nargs='+', action=DictAction, default={}, help='search options')
    parser.add_argument('--milvus-up-to', type=int, default=0, help='also Milvus Lite to this size')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/benchmarks/corpus'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='write everything measured as JSON')
    parser.add_argument('--probe', help=argparse.SUPPRESS)
    return parser.parse_args()


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the action returned."""
    start = time.perf_counter()
    value = action()
    return time.perf_counter() - start, value


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f'p{p}': 1000 * float(np.percentile(seconds, p)) for p in (50, 95)}


def anonymous_bytes() -> int:
    """Memory of this process that is not a mapped file."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('RssAnon'):
            return int(line.split()[1]) * 1024
    raise RuntimeError('/proc/self/status names no RssAnon')


def probe(path: str) -> None:
    """In a process of its own: what having the index open costs."""
    before = anonymous_bytes()
    seconds, index = timed(lambda: MomentIndex.open(path, verify=False))
    queries = torch.nn.functional.normalize(torch.randn(50, index.stats()['dim']), dim=1)
    for query in queries:
        index.search(query[None])
    verified = timed(lambda: MomentIndex.open(path))[0]
    print(
        json.dumps(
            dict(memory=anonymous_bytes() - before, open_s=seconds, open_verified_s=verified)
        )
    )


def latencies(index: MomentIndex, vectors: np.ndarray, repeats: int, search: dict) -> dict:
    """Of each step, for one query and for a batch."""
    measured: dict[str, dict[str, Any]] = {}
    for name, size, count in (('one', 1, repeats), ('batch', BATCH, max(5, repeats // 16))):
        steps: dict[str, list[float]] = {}
        for i in range(count + 3):
            part = np.take(vectors, range(i * size, (i + 1) * size), axis=0, mode='wrap')
            total, result = timed(lambda part=part: index.search(part, **search))
            if i < 3:
                continue  # warming up
            for step, seconds in dict(
                result.timings,
                levels=result.timings['level1'] + result.timings['level2'],
                total=total,
            ).items():
                steps.setdefault(step, []).append(seconds)
        measured[name] = {step: percentiles(values) for step, values in steps.items()}
    return measured


def hit_rates(hits: list[MomentHits], truth: Truth) -> dict[str, float]:
    """VCMR R@K at IoU >= .7, and VR R@K, in percent."""
    ranks, video_ranks = [], []
    for found, video, (start, end) in zip(hits, truth.video_ids, truth.spans):
        inter = np.minimum(found.spans[:, 1], end) - np.maximum(found.spans[:, 0], start)
        hull = np.maximum(found.spans[:, 1], end) - np.minimum(found.spans[:, 0], start)
        right = (np.array(found.video_ids) == video) & (inter >= 0.7 * hull)
        ranks.append(int(right.argmax()) if right.any() else 10**9)
        video_ranks.append(found.videos.index(video) if video in found.videos else 10**9)
    rates = {f'VCMR/R@{k}': 100 * float(np.mean(np.array(ranks) < k)) for k in (1, 10, 100)}
    rates['VR/R@200'] = 100 * float(np.mean(np.array(video_ranks) < 200))
    return rates


def search_all(index: MomentIndex, vectors: np.ndarray, what: str, **options: Any) -> list:
    """All queries in batches, with a bar."""
    hits: list[MomentHits] = []
    step = 500 if options.get('mode') == 'exact' else BATCH
    for start in tqdm(range(0, len(vectors), step), desc=what, leave=False):
        hits += index.search(vectors[start : start + step], **options).hits
    return hits


def losses(index: MomentIndex, truth: Truth, search: dict) -> dict[str, Any]:
    """What each level loses against the exact mode."""
    exact = search_all(index, truth.vectors, 'exact mode', mode='exact')
    fast = search_all(index, truth.vectors, 'fast mode', keep_candidates=True, **search)
    recall: dict[str, float] = {}
    reachable = [v in e.videos for v, e in zip(truth.video_ids, exact)]
    kept = {
        'level 1, 200 deep': [f.candidate_ids[:200] for f in fast],
        'level 1, as deep as asked': [f.candidate_ids for f in fast],
        'level 2': [f.videos for f in fast],
    }
    for name, lists in kept.items():
        found = [v in k for v, k, r in zip(truth.video_ids, lists, reachable) if r]
        recall[f'{name}: right video'] = float(np.mean(found))
        for top in (1, 10, 100, 200):
            shares = [np.isin(e.videos[:top], k).mean() for e, k in zip(exact, lists)]
            recall[f"{name}: exact mode's best {top}"] = float(np.mean(shares))
    return dict(
        recall=recall,
        candidates=float(np.mean([f.candidates for f in fast])),
        exact=hit_rates(exact, truth),
        fast=hit_rates(fast, truth),
    )


def milvus(corpus: Corpus, reference: MomentIndex, truth: Truth, root: Path) -> dict[str, Any]:
    """Milvus Lite on the same corpus: speed, and whether its moments are the same."""
    shutil.rmtree(root, ignore_errors=True)
    index = INDEXES.build(dict(type='MilvusIndex', path=root))
    seconds, _ = timed(lambda: index.build(corpus))
    vectors = truth.vectors[:100]
    pairs = zip(index.search(vectors).hits, reference.search(vectors).hits)
    same = [a.video_ids == b.video_ids and np.array_equal(a.spans, b.spans) for a, b in pairs]
    return dict(
        build_s=seconds,
        same_moments=float(np.mean(same)),
        latency=latencies(index, truth.vectors, 20, {}),
    )


def measure(corpus: Corpus, args: argparse.Namespace) -> dict[str, Any]:
    """Everything about one corpus size."""
    root = args.work_dir / f'{args.backend}_{corpus.size}'
    shutil.rmtree(root, ignore_errors=True)
    index = INDEXES.build(dict(type=args.backend, path=root, **args.options))
    result: dict[str, Any] = dict(videos=corpus.size, dim=corpus.dim)

    with tqdm(total=corpus.size, desc=f'building {corpus.size:,}', leave=False) as bar:
        building, _ = timed(lambda: index.build(corpus, progress=bar.update))
    result['build_s'] = building - corpus.seconds
    stats = index.stats()
    result.update(
        moments=stats['moments'],
        bytes_per_video=stats['bytes_per_video'],
        bytes_by_part={k: v / corpus.size for k, v in stats['bytes_by_part'].items()},
        level1=stats['level1'],
    )
    command = [sys.executable, __file__, '--probe', str(root)]
    result['probe'] = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])

    truth = corpus.truth(args.queries)
    rng = np.random.default_rng(args.seed)
    vectors = truth.vectors[rng.permutation(len(truth.vectors))]
    result['latency'] = latencies(index, vectors, args.repeats, args.search)
    result['exact_latency'] = latencies(index, vectors, 5, dict(mode='exact'))['one']['total']
    result.update(losses(index, truth, args.search))
    if corpus.size <= args.milvus_up_to:
        result['milvus'] = milvus(corpus, index, truth, args.work_dir / 'milvus')

    clips = ExhaustiveClips(corpus)
    reference = reference_moments(corpus, truth.vectors, clips)
    result['float32'] = hit_rates(reference, truth)
    result['exhaustive'] = clips.measure(vectors, BATCH, timed, percentiles)

    new = [type(e)(f'new{e.video_id}', e.moments, e.spans, e.duration) for e in corpus.block(10**6)]
    result['add_1000_s'] = timed(lambda: index.add(new))[0]
    result['remove_1000_s'] = timed(lambda: index.remove([e.video_id for e in new]))[0]
    result['latency_after_removal'] = latencies(index, vectors, 50, args.search)['one']['levels']
    return result


def table(results: list[dict[str, Any]]) -> str:
    """The main figures as Markdown, a column for each size."""
    last = results[0]['latency']['one']['levels']['p50']

    def milliseconds(of: dict[str, float]) -> str:
        return f'{of["p50"]:.1f} / {of["p95"]:.1f}'

    def row(name: str, cell: Callable[[dict[str, Any]], str]) -> str:
        return f'| {name} | ' + ' | '.join(cell(r) for r in results) + ' |'

    def step(batch: str, key: str) -> Callable[[dict[str, Any]], str]:
        return lambda r: milliseconds(r['latency'][batch][key])

    lines = [
        row('videos', lambda r: f'{r["videos"]:,}'),
        '| --- |' + ' --- |' * len(results),
        row('level 1', lambda r: f'{r["level1"]["kind"]}, depth {r["level1"].get("depth", "-")}'),
        row('build, without encoding (s)', lambda r: f'{r["build_s"]:.0f}'),
        row('KB a video on disk', lambda r: f'{r["bytes_per_video"] / 1000:.2f}'),
        row('KB a video in memory', lambda r: f'{r["probe"]["memory"] / r["videos"] / 1000:.2f}'),
        row(
            'open, open and verify (s)',
            lambda r: f'{r["probe"]["open_s"]:.2f}, {r["probe"]["open_verified_s"]:.2f}',
        ),
        row('add, remove 1,000 (s)', lambda r: f'{r["add_1000_s"]:.2f}, {r["remove_1000_s"]:.2f}'),
        row('1 query: level 1, p50 / p95 (ms)', step('one', 'level1')),
        row('1 query: level 2', step('one', 'level2')),
        row('1 query: levels 1 + 2', step('one', 'levels')),
        row(
            'growth over the smallest',
            lambda r: f'{r["latency"]["one"]["levels"]["p50"] / last:.2f}',
        ),
        row('64 queries: levels 1 + 2', step('batch', 'levels')),
        row('1 query, exact mode', lambda r: milliseconds(r['exact_latency'])),
    ]
    lines += [
        row(f'recall of {key}', lambda r, key=key: f'{r["recall"][key]:.4f}')
        for key in results[0]['recall']
    ]
    lines += [
        row(
            f'{key}: fast, exact, float32 exact',
            lambda r, key=key: (
                f'{r["fast"][key]:.1f}, {r["exact"][key]:.1f}, {r["float32"][key]:.1f}'
            ),
        )
        for key in results[0]['fast']
    ]
    lines += [
        row('exhaustive clips: 1 query (ms)', lambda r: milliseconds(r['exhaustive']['one'])),
        row('exhaustive clips: 64 queries', lambda r: milliseconds(r['exhaustive']['batch'])),
        row(
            'exhaustive / ours: time of 1, of 64',
            lambda r: ', '.join(
                f'{r["exhaustive"][b]["p50"] / r["latency"][b]["levels"]["p50"]:.1f}'
                for b in ('one', 'batch')
            ),
        ),
        row(
            'exhaustive / ours: memory',
            lambda r: f'{r["exhaustive"]["bytes"] / r["probe"]["memory"]:.1f}',
        ),
    ]
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    if args.probe:
        probe(args.probe)
        return
    results = []
    for size in args.sizes:
        corpus: Corpus
        if args.vectors:
            corpus = EnlargedCorpus(size, args.seed, args.vectors, args.query_vectors)
        else:
            corpus = SyntheticCorpus(size, args.seed, args.dim)
        results.append(measure(corpus, args))
        print(table(results), flush=True)
        if args.out:
            args.out.write_text(json.dumps(results, indent=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f'\n{torch.get_num_threads()} threads; this process took {peak:.1f} GiB at most')


if __name__ == '__main__':
    main()
