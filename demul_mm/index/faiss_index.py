"""Level 1 by FAISS: flat, a graph, or inverted lists; a structure for each fragment."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from demul_mm.files import total_size
from demul_mm.index.base import MomentIndex
from demul_mm.index.cache import Fragment
from demul_mm.index.codecs import import_faiss
from demul_mm.index.search import Level1Query, first_of_each_video
from demul_mm.index.snapshot import MappedSnapshot
from demul_mm.registry import INDEXES
from demul_mm.structures.counts import check_count

# Up to so many prototypes a flat scan is as fast as anything.
FLAT_UP_TO = 150_000
# Fewer prototypes than this are scanned, whatever structure was asked for.
FEW = 2_000
# If more than this share of the videos is allowed, those that are not are dropped from the hits.
MOST = 0.8
KINDS = ('auto', 'flat', 'hnsw', 'ivf_sq', 'ivf_pq')
# Depths that are tried: lists to probe, or breadth in the graph.
DEPTHS = [round(2 ** (i / 2)) for i in range(1, 25)]
TUNE_QUERIES = 128
TUNE_BEST = 200
SEED = 0


class _Part(NamedTuple):
    """Level 1 of a fragment: the structure, and the ordinals of its prototypes' videos."""

    fragment: Fragment
    index: Any
    owners: np.ndarray  # (P,)


@INDEXES.register_module()
@dataclass(eq=False, repr=False)
class FaissIndex(MomentIndex):
    """Level 1 in FAISS, in this process.

    Args:
        path, num_prototypes, level2, segment_videos, model_fingerprint, feature_fingerprint: see
            :class:`MomentIndex`.
        kind: 'flat'; 'hnsw', a graph; 'ivf_sq', inverted lists of bytes; 'ivf_pq', inverted lists
            of product-quantised vectors, a fourth of that; or 'auto', flat up to 150 thousand
            prototypes in a fragment and 'ivf_sq' beyond.
        target_recall: share of the flat scan's best 200 prototypes that probing must find;
            the number of lists to probe is measured for it on perturbed prototypes after training.

    Search options: ``nprobe`` (lists to probe), ``ef_search`` (breadth in the graph).
    """

    kind: str = 'auto'
    target_recall: float = 0.98

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ValueError(f'kind is {self.kind!r}; allowed: {", ".join(KINDS)}')
        if not 0 < self.target_recall <= 1:
            raise ValueError(f'target_recall is {self.target_recall}; it must be in (0, 1]')
        import_faiss()

    def options(self) -> dict[str, Any]:
        return dict(kind=self.kind, target_recall=self.target_recall)

    def _open_level1(self, snapshot: MappedSnapshot, verify: bool, known: Any) -> list[_Part]:
        opened = {part.fragment.name: part.index for part in known or ()}
        return [
            _Part(
                fragment,
                opened.get(fragment.name) or self._structure(fragment, verify),
                fragment.owners + int(base),
            )
            for fragment, base in zip(snapshot.fragments, snapshot.fragment_bases)
        ]

    def _structure(self, fragment: Fragment, verify: bool) -> Any:
        faiss = import_faiss()
        total = len(fragment.owners)
        kind = self.kind
        if total < FEW or (kind == 'auto' and total <= FLAT_UP_TO):
            kind = 'flat'
        elif kind == 'auto':
            kind = 'ivf_sq'

        def read(path: Path) -> Any:
            index = faiss.read_index(str(path))
            if index.ntotal != total:  # it was made before the fragment's copy
                raise ValueError(f'{path} holds {index.ntotal} prototypes, not {total}')
            return index

        def make(path: Path) -> None:
            faiss.write_index(make_structure(kind, fragment, self.target_recall), str(path))

        return fragment.cached(f'.{kind}.faiss', verify, read, make)

    def _describe_level1(self, level1: list[_Part]) -> tuple[dict[str, Any], int]:
        main = max(level1, key=lambda part: part.index.ntotal, default=None)
        words = dict(kind='flat', depth=0) if main is None else describe(main.index)
        paths = (part.fragment.folder.glob(f'{part.fragment.name}-*.faiss') for part in level1)
        return words, total_size(path for found in paths for path in found)

    def _check_options(self, options: dict[str, Any]) -> None:
        unknown = set(options) - {'nprobe', 'ef_search'}
        if unknown:
            raise ValueError(
                f'FaissIndex has no options {sorted(unknown)}; it has nprobe, ef_search'
            )
        for name, value in options.items():
            check_count(name, value)

    def _candidates(self, asked: Level1Query) -> list[np.ndarray]:
        # Testing every code that is passed costs more than dropping a few hits afterwards.
        allowed, parts = asked.allowed, asked.level1
        share = float(allowed.mean())
        selectors: list[Any] = [None] * len(parts)
        if share <= MOST:
            bits = [np.packbits(allowed[part.owners], bitorder='little') for part in parts]
            selectors = [import_faiss().IDSelectorBitmap(mask) for mask in bits]
        vectors = np.ascontiguousarray(asked.queries.numpy())
        # A video has several prototypes near a query; asking again costs all of a search again.
        wanted = 4 * asked.depth
        while True:
            owners, scores, full = [], [], False
            for part, selector in zip(parts, selectors):
                number = min(wanted, part.index.ntotal)
                params = search_parameters(part.index, asked.options, number, selector, share)
                found_scores, hits = part.index.search(vectors, number, params=params)
                owners.append(np.where(hits < 0, -1, part.owners[hits]))
                scores.append(found_scores)
                full |= number < part.index.ntotal and bool((hits >= 0).all())
            of = np.concatenate(owners, 1)
            of = np.where((of >= 0) & allowed[of], of, -1)
            found = [
                first_of_each_video(own, s, asked.depth)[0]
                for own, s in zip(of, np.concatenate(scores, 1))
            ]
            if not full or min(map(len, found)) >= asked.depth:
                return found
            wanted *= 2


def make_structure(kind: str, fragment: Fragment, target_recall: float) -> Any:
    """A structure of that kind over the prototypes, which knows how deep to search.

    Prototypes are passed some at a time: those of a million videos are 12 GB.
    """
    faiss = import_faiss()
    total = len(fragment.owners)
    lists = 1 << max(0, round(math.log2(0.75 * math.sqrt(total))))
    inverted = kind.startswith('ivf')
    sample = fragment.sample(40 * max(lists, 256) if inverted else 1 << 16)
    dim = sample.shape[1]
    parts = next(m for m in range(max(1, dim // 4), 0, -1) if dim % m == 0)
    recipe = dict(
        flat='SQ8', hnsw='HNSW32_SQ8', ivf_sq=f'IVF{lists},SQ8', ivf_pq=f'IVF{lists},PQ{parts}'
    )[kind]
    index = faiss.index_factory(dim, recipe, faiss.METRIC_INNER_PRODUCT)
    if inverted:
        index.cp.niter, index.cp.seed = 10, SEED
    elif kind == 'hnsw':
        index.hnsw.efConstruction = 80
    index.train(sample)
    queries = perturbed(sample)
    best = faiss.ResultHeap(len(queries), min(TUNE_BEST, total), keep_max=True)
    for part in [sample] if len(sample) == total else fragment.prototypes():
        if kind != 'flat':
            found = faiss.knn(queries, part, min(best.k, len(part)), faiss.METRIC_INNER_PRODUCT)
            best.add_result(found[0], found[1] + index.ntotal)
        index.add(part)
    if kind != 'flat':
        tune(index, queries, best.I, target_recall)
    return index


def perturbed(prototypes: np.ndarray) -> np.ndarray:
    """Some of ``(P, S)``, moved to a cosine of about .5 with themselves: so a sentence stands to
    its moment."""
    rng = np.random.default_rng(SEED)
    origins = prototypes[rng.permutation(len(prototypes))[:TUNE_QUERIES]]
    noise = rng.standard_normal(origins.shape, np.float32)
    return origins + noise * (math.sqrt(3) / np.linalg.norm(noise, axis=1, keepdims=True))


def tune(index: Any, queries: np.ndarray, truth: np.ndarray, target_recall: float) -> None:
    """Set the least depth that finds what a flat scan finds.

    Counted is how many of the flat scan's best 200 are among the 800 that the structure returns,
    because level 2 sees that many.

    Args:
        queries: ``(Q, S)``.
        truth: ``(Q, best)``, numbers of what the flat scan finds.
    """
    faiss = import_faiss()
    for depth in DEPTHS:
        if isinstance(index, faiss.IndexIVF):
            index.nprobe = min(depth, index.nlist)
        else:
            index.hnsw.efSearch = depth
        found = index.search(queries, min(4 * truth.shape[1], index.ntotal))[1]
        if np.mean([np.isin(t, f).mean() for t, f in zip(truth, found)]) >= target_recall:
            return


def describe(index: Any) -> dict[str, Any]:
    """What a structure is, and how deep it is searched: lists that are probed, or breadth."""
    faiss = import_faiss()
    if isinstance(index, faiss.IndexIVF):
        kind = 'ivf_pq' if isinstance(index, faiss.IndexIVFPQ) else 'ivf_sq'
        return dict(kind=kind, depth=index.nprobe, lists=index.nlist)
    if isinstance(index, faiss.IndexHNSW):
        return dict(kind='hnsw', depth=index.hnsw.efSearch)
    return dict(kind='flat', depth=0)


def search_parameters(
    index: Any, options: dict[str, Any], number: int, selector: Any, share: float
) -> Any:
    """Parameters of a search for ``number`` hits among those that the selector lets through.

    The smaller the ``share`` of the videos that is allowed, the deeper the search: its depth was
    measured without a filter.
    """
    faiss = import_faiss()
    depth = describe(index)['depth'] / max(share, 1e-6)
    if isinstance(index, faiss.IndexIVF):
        depth = math.ceil(options.get('nprobe', depth))
        return faiss.SearchParametersIVF(nprobe=min(depth, index.nlist), sel=selector)
    if isinstance(index, faiss.IndexHNSW):
        depth = min(max(math.ceil(options.get('ef_search', depth)), number), index.ntotal)
        return faiss.SearchParametersHNSW(efSearch=depth, sel=selector)
    return faiss.SearchParameters(sel=selector)
