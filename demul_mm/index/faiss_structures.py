"""The FAISS structures of level 1: training, how deep to search them, search parameters."""

import math
from typing import Any

import numpy as np
import torch

from demul_mm.index.codecs import Int8Codec, multiply_bytes
from demul_mm.index.snapshot import Snapshot

# Prototypes that are decoded and scored at once.
CHUNK = 65_536
# Depths that are tried: lists to probe, or breadth in the graph.
DEPTHS = [round(2 ** (i / 2)) for i in range(1, 25)]
TUNE_QUERIES = 128
TUNE_BEST = 200
SEED = 0


def import_faiss() -> Any:
    """The module, untyped (its own hints are wrong), or how to get it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "FaissIndex needs faiss: pip install 'demul-mm[index]', or use ExactIndex"
        ) from error
    return faiss


def sample_prototypes(snapshot: Snapshot, number: int) -> np.ndarray:
    """A seeded sample ``(n, S)`` of all prototypes, in runs, so that few pages are read."""
    total = int(snapshot.prototype_bases[-1])
    if total <= number:
        return snapshot.prototypes(0, total)
    run = 64
    starts = np.random.default_rng(SEED).choice(total // run, number // run, replace=False) * run
    return np.concatenate([snapshot.prototypes(s, s + run) for s in np.sort(starts)])


def train(kind: str, snapshot: Snapshot) -> Any:
    """An empty structure of that kind, trained on the prototypes of ``snapshot``."""
    faiss = import_faiss()

    dim = snapshot.codec.dim
    metric = faiss.METRIC_INNER_PRODUCT
    total = int(snapshot.prototype_bases[-1])
    if kind == 'hnsw':
        index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, 32, metric)
        index.hnsw.efConstruction = 80
        index.train(sample_prototypes(snapshot, CHUNK))
        return index
    lists = 1 << max(0, round(math.log2(0.75 * math.sqrt(total))))
    quantizer = faiss.IndexFlatIP(dim)
    if kind == 'ivf_sq':
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, dim, lists, faiss.ScalarQuantizer.QT_8bit, metric
        )
    else:
        parts = next(m for m in range(max(1, dim // 4), 0, -1) if dim % m == 0)
        index = faiss.IndexIVFPQ(quantizer, dim, lists, parts, 8, metric)
    index.cp.niter = 10
    index.cp.seed = SEED
    index.train(sample_prototypes(snapshot, max(40 * lists, 256 * 40)))
    return index


def add(index: Any, snapshot: Snapshot, start: int) -> None:
    """Put the prototypes of ``snapshot`` from ``start`` on into ``index``."""
    faiss = import_faiss()

    inverted = isinstance(index, faiss.IndexIVF)
    centroids = index.quantizer.reconstruct_n(0, index.nlist) if inverted else None
    for first in range(start, int(snapshot.prototype_bases[-1]), CHUNK):
        codes = snapshot.prototype_codes(first, first + CHUNK)
        vectors = Int8Codec(snapshot.codec.dim).decode(codes).numpy()
        if centroids is None:
            index.add(vectors)
            continue
        lists = nearest(codes[:, : snapshot.codec.dim].view(np.int8), centroids)
        ids = np.arange(first, first + len(vectors))
        index.add_core(
            len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(lists)
        )


def nearest(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """For each of ``rows (N, S)`` int8 the best of ``centroids (K, S)`` by inner product, ``(N,)``.

    In whole numbers, with centroids to a byte: most of the time of building goes here. A row that
    lies between two centroids may get either.
    """
    step = np.abs(centroids).max() / 127
    columns = torch.from_numpy(np.rint(centroids / step).astype(np.int8)).T.contiguous()
    block = max(1, (1 << 21) // len(centroids))  # so that products stay in the cache
    found = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), block):
        part = torch.from_numpy(rows[start : start + block])
        found[start : start + block] = multiply_bytes(part, columns).numpy().argmax(1)
    return found


def search_parameters(
    index: Any,
    section: dict[str, Any],
    options: dict[str, Any],
    number: int,
    selector: Any,
    share: float,
) -> Any:
    """Parameters of one search.

    Args:
        index: to be searched.
        section: of the manifest; its ``depth`` was measured without a filter.
        options: of the search.
        number: of hits wanted.
        selector: of allowed prototypes, or None.
        share: of the videos that are allowed: the fewer, the deeper the search.
    """
    faiss = import_faiss()

    unknown = set(options) - {'nprobe', 'ef_search'}
    if unknown:
        raise ValueError(f'FaissIndex has no options {sorted(unknown)}; it has nprobe, ef_search')
    if isinstance(index, faiss.IndexIVF):
        depth = options.get('nprobe') or math.ceil(section['depth'] / max(share, 1e-6))
        return faiss.SearchParametersIVF(nprobe=min(depth, index.nlist), sel=selector)
    if isinstance(index, faiss.IndexHNSW):
        depth = options.get('ef_search') or math.ceil(section['depth'] / max(share, 1e-6))
        depth = min(max(depth, number), index.ntotal)
        return faiss.SearchParametersHNSW(efSearch=depth, sel=selector)
    return faiss.SearchParameters(sel=selector)


def tune(index: Any, snapshot: Snapshot, target_recall: float) -> int:
    """The least depth that finds what a flat scan finds.

    Queries are stored prototypes perturbed to a cosine of about .5 with the original, roughly
    where a sentence stands to its moment. Counted is how many of the flat scan's best 200 are
    among the 800 that the structure returns, because level 2 sees that many.
    """
    rng = np.random.default_rng(SEED)
    total = index.ntotal
    origins = sample_prototypes(snapshot, max(64, TUNE_QUERIES))[:TUNE_QUERIES]
    noise = rng.standard_normal(origins.shape, np.float32)
    noise *= math.sqrt(3) / np.linalg.norm(noise, axis=1, keepdims=True)
    queries = origins + noise
    best = min(TUNE_BEST, total)
    truth = _flat_best(queries, snapshot, best)
    section: dict[str, Any] = {}
    for depth in DEPTHS:
        section['depth'] = depth
        number = min(4 * best, total)
        params = search_parameters(index, section, {}, number, None, 1.0)
        found = index.search(queries, number, params=params)[1]
        recall = np.mean([np.isin(t, f).mean() for t, f in zip(truth, found)])
        if recall >= target_recall:
            break
    return depth


def _flat_best(queries: np.ndarray, snapshot: Snapshot, best: int) -> np.ndarray:
    """The best prototypes ``(Q, best)`` of each query, by scanning all."""
    faiss = import_faiss()

    heap = faiss.ResultHeap(len(queries), best, keep_max=True)
    for start in range(0, int(snapshot.prototype_bases[-1]), CHUNK):
        block = snapshot.prototypes(start, start + CHUNK)
        scores, hits = faiss.knn(queries, block, min(best, len(block)), faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, hits + start)
    heap.finalize()
    return heap.I
