"""What the index benchmark measures of one corpus."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus_data import Corpus, EnlargedCorpus, Truth, unit
from exhaustive import ExhaustiveClips, reference_moments
from measuring import percentiles, timed
from tqdm import tqdm

from demul_mm.index import MomentHits, MomentIndex
from demul_mm.registry import INDEXES
from demul_mm.structures import span_iou

COMMAND = Path(__file__).with_name('corpus.py')
BATCH = 64
SMALLEST = dict(level2='pq4', kind='ivf_pq', num_prototypes=12)


def anonymous_bytes() -> int:
    """Memory of this process that is not a mapped file."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('RssAnon'):
            return int(line.split()[1]) * 1024
    raise RuntimeError('/proc/self/status names no RssAnon')


def probe(path: str) -> None:
    """Print as JSON what it costs to have an index open; run in a process of its own."""
    before = anonymous_bytes()
    seconds, _, index = timed(lambda: MomentIndex.open(path, verify=False))
    queries = torch.nn.functional.normalize(torch.randn(50, index.stats()['dim']), dim=1)
    for query in queries:
        index.search(query[None])
    memory = anonymous_bytes() - before
    verified = timed(lambda: MomentIndex.open(path))[0]
    print(json.dumps(dict(memory=memory, open_s=seconds, open_verified_s=verified)))


def latencies(index: MomentIndex, vectors: np.ndarray, repeats: int, search: dict) -> dict:
    """Percentiles of the time of each step, for one query and for a batch."""
    batches = max(5, repeats // 16)
    return dict(
        one=step_times(index, vectors, 1, repeats, search),
        batch=step_times(index, vectors, BATCH, batches, search),
    )


def step_times(
    index: MomentIndex, vectors: np.ndarray, size: int, count: int, search: dict
) -> dict[str, dict[str, float]]:
    """Percentiles of the time of each step of ``count`` searches for ``size`` queries each."""
    steps: dict[str, list[float]] = {}
    warm = min(3, count)
    for i in range(count + warm):
        part = np.take(vectors, range(i * size, (i + 1) * size), axis=0, mode='wrap')
        total, cpu, result = timed(lambda part=part: index.search(part, **search))
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
    for found, video, span in zip(hits, truth.video_ids, truth.spans):
        right = (np.array(found.video_ids) == video) & (overlap(found.spans, span) >= 0.7)
        ranks.append(int(right.argmax()) if right.any() else 10**9)
        video_ranks.append(found.videos.index(video) if video in found.videos else 10**9)
    rates = {f'VCMR/R@{k}': 100 * float(np.mean(np.array(ranks) < k)) for k in (1, 10, 100)}
    rates['VR/R@200'] = 100 * float(np.mean(np.array(video_ranks) < 200))
    return rates


def overlap(spans: np.ndarray, span: np.ndarray) -> np.ndarray:
    """IoU of ``spans (N, 2)`` with one span."""
    return span_iou(torch.from_numpy(spans), torch.from_numpy(span)).numpy()


def search_all(index: MomentIndex, vectors: np.ndarray, what: str, **options: Any) -> list:
    """Search all queries in batches."""
    hits: list[MomentHits] = []
    step = 500 if options.get('mode') == 'exact' else BATCH
    for start in tqdm(range(0, len(vectors), step), desc=what, leave=False):
        hits += index.search(vectors[start : start + step], **options).hits
    return hits


def losses(index: MomentIndex, truth: Truth, search: dict) -> dict[str, Any]:
    """What each level of the index loses compared with the exact mode."""
    exact = search_all(index, truth.vectors, 'exact mode', mode='exact')
    fast = search_all(index, truth.vectors, 'fast mode', keep_candidates=True, **search)
    recall: dict[str, float] = {}
    # If no query is reachable, nothing can be lost.
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
    seconds = timed(lambda: index.build(corpus))[0]
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
        result['score_quantiles'] = corpus.score_quantiles(args.queries)

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
    command = [sys.executable, str(COMMAND), '--probe', str(root)]
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
    result['exhaustive'] = clips.measure(vectors, BATCH)
    del clips

    new = [type(e)(f'new{e.video_id}', e.moments, e.spans, e.duration) for e in corpus.block(10**6)]
    result['add_1000_s'] = timed(lambda: index.add(new))[0]
    result['remove_1000_s'] = timed(lambda: index.remove([e.video_id for e in new]))[0]
    result['latency_after_removal'] = step_times(index, vectors, 1, 50, args.search)['levels']
    return result


def build(corpus: Corpus, root: Path, args: argparse.Namespace) -> tuple[MomentIndex, float]:
    """Build the index; the seconds leave out those of making the videos."""
    shutil.rmtree(root, ignore_errors=True)
    index = INDEXES.build(dict(type=args.backend, path=root, **args.options))
    with tqdm(total=corpus.size, desc=f'building {corpus.size:,}', leave=False) as bar:
        seconds = timed(lambda: index.build(corpus, progress=bar.update))[0]
    return index, seconds - corpus.seconds


def drawn(corpus: Corpus, truth: Truth) -> Truth:
    """Queries as of a better model: each moved towards the moment that it is about.

    What an index loses shows only on moments that exact search finds.
    """
    entries = {e.video_id: e for e in corpus.load(sorted(set(truth.video_ids)))}
    moments = []
    for video_id, span in zip(truth.video_ids, truth.spans):
        entry = entries[video_id]
        moments.append(entry.moments[overlap(entry.spans, span).argmax()])
    return Truth(unit(unit(truth.vectors) + np.stack(moments)), truth.video_ids, truth.spans)


def product_quantised(corpus: Corpus, truth: Truth, args: argparse.Namespace) -> dict[str, Any]:
    """Measure the same corpus in its smallest form, product-quantised."""
    root = args.work_dir / 'product'
    shutil.rmtree(root, ignore_errors=True)
    index = INDEXES.build(dict(type='FaissIndex', path=root, **SMALLEST))
    index.build(corpus)
    return dict(
        bytes_per_video=index.stats()['bytes_per_video'],
        levels=step_times(index, truth.vectors, 1, 30, args.search)['levels'],
        **losses(index, truth, args.search),
    )
