"""Measure the corpus index: speed, size and what it loses, against exact and exhaustive search.

For each corpus size: building, adding, removing, bytes, latencies of the steps for one query and
for batches of 64, what level 1 and the whole search lose against exact search, and the same
queries by exhaustive clip scoring. Everything is one run; take ratios, not seconds, elsewhere.

Examples:
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 100000 1000000 --out r.json
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 --options kind=ivf_pq
    OMP_WAIT_POLICY=PASSIVE python benchmarks/corpus.py --sizes 10000 100000 \\
        --vectors work_dirs/vectors --query-vectors work_dirs/queries.safetensors \\
        --fusion configs/demul_demo.py work_dirs/demo/train/best.pth

Vectors and query vectors of a trained model are written by tools/index/export.py.
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
from corpus_data import Corpus, EnlargedCorpus, SyntheticCorpus, Truth, unit
from corpus_table import table
from exhaustive import ExhaustiveClips, reference_moments
from fusion import measure_fusion
from mmengine.config import DictAction
from tqdm import tqdm

from demul_mm.engine.cli import add_config_options
from demul_mm.index import MomentHits, MomentIndex
from demul_mm.registry import INDEXES

BATCH = 64
SMALLEST = dict(level2='pq4', kind='ivf_pq', num_prototypes=12)


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
    parser.add_argument(
        '--shift', type=float, default=0.25, help='how far distractors are moved (default 0.25)'
    )
    parser.add_argument(
        '--fusion',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help="also measure fusing 20 videos of the config's test data set",
    )
    add_config_options(parser)
    parser.add_argument('--backend', default='FaissIndex')
    parser.add_argument('--options', nargs='+', action=DictAction, default={})
    parser.add_argument('--search', nargs='+', action=DictAction, default={}, help='search options')
    parser.add_argument('--milvus-up-to', type=int, default=0, help='also Milvus Lite to this size')
    parser.add_argument(
        '--pq-up-to', type=int, default=0, help='also with product quantisation to this size'
    )
    parser.add_argument(
        '--float32-up-to', type=int, default=100_000, help='also unquantised search to this size'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/benchmarks/corpus'))
    parser.add_argument(
        '--reuse', action='store_true', help='search the index that an earlier run left in work-dir'
    )
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
    memory = anonymous_bytes() - before
    verified = timed(lambda: MomentIndex.open(path))[0]
    print(json.dumps(dict(memory=memory, open_s=seconds, open_verified_s=verified)))


def latencies(index: MomentIndex, vectors: np.ndarray, repeats: int, search: dict) -> dict:
    """Of each step, for one query and for a batch."""
    batches = max(5, repeats // 16)
    return dict(
        one=step_times(index, vectors, 1, repeats, search),
        batch=step_times(index, vectors, BATCH, batches, search),
    )


def step_times(
    index: MomentIndex, vectors: np.ndarray, size: int, count: int, search: dict
) -> dict[str, dict[str, float]]:
    """Of ``count`` searches for ``size`` queries each."""
    steps: dict[str, list[float]] = {}
    warm = min(3, count)
    for i in range(count + warm):
        part = np.take(vectors, range(i * size, (i + 1) * size), axis=0, mode='wrap')
        cpu = time.process_time()
        total, result = timed(lambda part=part: index.search(part, **search))
        cpu = time.process_time() - cpu
        if i >= warm:
            for step, seconds in dict(
                result.timings,
                levels=result.timings['level1'] + result.timings['level2'],
                total=total,
                cpu=cpu,
            ).items():
                steps.setdefault(step, []).append(seconds)
    return {step: percentiles(values) for step, values in steps.items()}


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
    # None of the queries may be reachable: then there is nothing to lose.
    reachable = [v in e.videos for v, e in zip(truth.video_ids, exact)]
    kept = {
        'level 1, 200 deep': [f.candidate_ids[:200] for f in fast],
        'level 1, as deep as asked': [f.candidate_ids for f in fast],
        'level 2': [f.videos for f in fast],
    }
    for name, lists in kept.items():
        found = [v in k for v, k, r in zip(truth.video_ids, lists, reachable) if r]
        recall[f'{name}: right video'] = float(np.mean(found)) if found else 1.0
        for top in (1, 10, 100, 200):
            shares = [np.isin(e.videos[:top], k).mean() for e, k in zip(exact, lists)]
            recall[f"{name}: exact mode's best {top}"] = float(np.mean(shares))
    return dict(
        recall=recall,
        reachable=int(np.sum(reachable)),
        queries=len(exact),
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
    result: dict[str, Any] = dict(videos=corpus.size, dim=corpus.dim)
    if isinstance(corpus, EnlargedCorpus):
        result['likeness'] = corpus.likeness(args.queries)

    if args.reuse and root.exists():
        index = MomentIndex.open(root, verify=False)
    else:
        index, result['build_s'] = build(corpus, root, args)
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
    result['exact_latency'] = step_times(index, vectors, 1, 3, dict(mode='exact'))['total']
    for name, asked in dict(queries=truth, drawn=drawn(corpus, truth)).items():
        result[name] = losses(index, asked, args.search)
    if corpus.size <= args.milvus_up_to:
        result['milvus'] = milvus(corpus, index, truth, args.work_dir / 'milvus')
    if corpus.size <= args.pq_up_to:
        result['pq'] = product_quantised(corpus, truth, args)

    clips = ExhaustiveClips(corpus)
    if corpus.size <= args.float32_up_to:
        result['float32'] = hit_rates(reference_moments(corpus, truth.vectors, clips), truth)
    else:
        clips.add_all(corpus)
    result['exhaustive'] = clips.measure(vectors, BATCH, timed, percentiles)
    del clips

    new = [type(e)(f'new{e.video_id}', e.moments, e.spans, e.duration) for e in corpus.block(10**6)]
    result['add_1000_s'] = timed(lambda: index.add(new))[0]
    result['remove_1000_s'] = timed(lambda: index.remove([e.video_id for e in new]))[0]
    result['latency_after_removal'] = step_times(index, vectors, 1, 50, args.search)['levels']
    return result


def build(corpus: Corpus, root: Path, args: argparse.Namespace) -> tuple[MomentIndex, float]:
    """The index, and the seconds without those of making its videos."""
    shutil.rmtree(root, ignore_errors=True)
    index = INDEXES.build(dict(type=args.backend, path=root, **args.options))
    with tqdm(total=corpus.size, desc=f'building {corpus.size:,}', leave=False) as bar:
        seconds, _ = timed(lambda: index.build(corpus, progress=bar.update))
    return index, seconds - corpus.seconds


def drawn(corpus: Corpus, truth: Truth) -> Truth:
    """Queries of a model that is better than ours: each drawn towards its moment.

    What an index loses shows only on moments that can be found at all.
    """
    entries = {e.video_id: e for e in corpus.load(sorted(set(truth.video_ids)))}
    moments = []
    for video_id, (start, end) in zip(truth.video_ids, truth.spans):
        entry = entries[video_id]
        inter = np.minimum(entry.spans[:, 1], end) - np.maximum(entry.spans[:, 0], start)
        hull = np.maximum(entry.spans[:, 1], end) - np.minimum(entry.spans[:, 0], start)
        moments.append(entry.moments[np.argmax(inter / hull)])
    return Truth(unit(unit(truth.vectors) + np.stack(moments)), truth.video_ids, truth.spans)


def product_quantised(corpus: Corpus, truth: Truth, args: argparse.Namespace) -> dict[str, Any]:
    """The same corpus in the smallest form."""
    root = args.work_dir / 'product'
    shutil.rmtree(root, ignore_errors=True)
    index = INDEXES.build(dict(type='FaissIndex', path=root, **SMALLEST))
    index.build(corpus)
    return dict(
        bytes_per_video=index.stats()['bytes_per_video'],
        levels=step_times(index, truth.vectors, 1, 30, args.search)['levels'],
        **losses(index, truth, args.search),
    )


def main() -> None:
    args = parse_args()
    if args.probe:
        probe(args.probe)
        return
    results = []
    for size in args.sizes:
        corpus: Corpus
        if args.vectors:
            corpus = EnlargedCorpus(size, args.seed, args.vectors, args.query_vectors, args.shift)
        else:
            corpus = SyntheticCorpus(size, args.seed, args.dim)
        results.append(measure(corpus, args))
        if size == args.sizes[0] and args.fusion:
            results[0]['fusion'] = measure_fusion(*args.fusion, args.cfg_options, args.repeats)
        print(table(results), flush=True)
        if args.out:
            args.out.write_text(json.dumps(results, indent=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f'\n{torch.get_num_threads()} threads; this process took {peak:.1f} GiB at most')


if __name__ == '__main__':
    main()
