"""Level 1 by FAISS: flat, a graph, or inverted lists."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from demul_mm.index.base import MomentIndex
from demul_mm.index.candidates import first_of_each_video
from demul_mm.index.faiss_structures import (
    CHUNK,
    add,
    import_faiss,
    search_parameters,
    train,
    tune,
)
from demul_mm.index.snapshot import Snapshot
from demul_mm.index.storage import CheckedFile, FileInfo, check_file
from demul_mm.registry import INDEXES

# Up to so many prototypes a flat scan is as fast as anything.
FLAT_UP_TO = 150_000
# So many prototypes may wait in the flat tail, which every search scans.
TAIL = 100_000
# If more than this share of the videos is allowed, those that are not are dropped from the hits.
MOST = 0.8
KINDS = ('auto', 'flat', 'hnsw', 'ivf_sq', 'ivf_pq')


@dataclass
class _Level1:
    """Level 1 opened: what is indexed, and the flat tail of what was added since."""

    parts: list[tuple[Any, int]]  # each with the first prototype it holds
    owners: np.ndarray  # (P,) int32, ordinal of each prototype's video
    section: dict[str, Any]


@INDEXES.register_module()
class FaissIndex(MomentIndex):
    """Level 1 in FAISS, in this process.

    Additions are searched flat until there are 100 thousand prototypes of them; then they are put
    into the structure, and when that has grown fourfold it is trained anew.

    Args:
        path, num_prototypes, level2, segment_videos, model_fingerprint, feature_fingerprint: see
            :class:`MomentIndex`.
        kind: 'flat'; 'hnsw', a graph; 'ivf_sq', inverted lists of bytes; 'ivf_pq', inverted lists
            of product-quantised vectors, a fourth of that; or 'auto', flat up to 150 thousand
            prototypes and 'ivf_sq' beyond.
        target_recall: of the flat scan's best 200 prototypes that probing the lists must find;
            the number of lists to probe is measured for it on perturbed prototypes after training.

    Search options: ``nprobe`` (lists to probe), ``ef_search`` (breadth in the graph).
    """

    def __init__(
        self,
        path: Any = None,
        num_prototypes: int = 24,
        level2: str = 'int8',
        segment_videos: int = 50_000,
        model_fingerprint: str = '',
        feature_fingerprint: str = '',
        kind: str = 'auto',
        target_recall: float = 0.98,
    ) -> None:
        super().__init__(
            path=path,
            num_prototypes=num_prototypes,
            level2=level2,
            segment_videos=segment_videos,
            model_fingerprint=model_fingerprint,
            feature_fingerprint=feature_fingerprint,
        )
        if kind not in KINDS:
            raise ValueError(f'kind is {kind!r}; allowed: {", ".join(KINDS)}')
        if not 0 < target_recall <= 1:
            raise ValueError(f'target_recall is {target_recall}; it must be in (0, 1]')
        import_faiss()
        self.kind = kind
        self.target_recall = target_recall

    def options(self) -> dict[str, Any]:
        return dict(kind=self.kind, target_recall=self.target_recall)

    # Building.

    def _update_level1(self, snapshot: Snapshot, old: dict[str, Any] | None) -> dict[str, Any]:
        total = int(snapshot.prototype_bases[-1])
        kind = self.kind
        if kind == 'auto':
            kind = 'flat' if total <= FLAT_UP_TO else 'ivf_sq'
        if kind == 'flat' or not total:
            # The segments hold all that a flat index needs.
            return dict(kind='flat', covered=0, prototypes=0, trained_on=0, depth=0, files=[])
        if old is not None and old['kind'] == kind and total < 4 * old['trained_on']:
            start, trained_on = old['prototypes'], old['trained_on']
            if total - start <= TAIL:
                return old
            index = self._read(snapshot, old, verify=False)
        else:
            start, trained_on = 0, total
            index = train(kind, snapshot)
        add(index, snapshot, start)
        name = f'level1-{snapshot.manifest["generation"]:06d}.faiss'
        return dict(
            kind=kind,
            covered=len(snapshot.segments),
            prototypes=total,
            trained_on=trained_on,
            depth=tune(index, snapshot, self.target_recall),
            files=[_write(index, snapshot, name)],
        )

    # Opening and searching.

    def _read(self, snapshot: Snapshot, section: dict[str, Any], verify: bool) -> Any:
        path = check_file(snapshot.root, section['files'][0], verify)
        return import_faiss().read_index(str(path))

    def _open_level1(self, snapshot: Snapshot, verify: bool, known: Any) -> _Level1:
        section = snapshot.manifest['level1']
        parts = []
        if section['files']:
            same = known is not None and known.section['files'] == section['files']
            index = known.parts[0][0] if same else self._read(snapshot, section, verify)
            parts.append((index, 0))
        total, start = int(snapshot.prototype_bases[-1]), section['prototypes']
        if total > start:
            faiss = import_faiss()
            tail = faiss.IndexScalarQuantizer(
                snapshot.codec.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            for first in range(start, total, CHUNK):
                tail.add(snapshot.prototypes(first, min(first + CHUNK, total)))
            parts.append((tail, start))
        return _Level1(parts, snapshot.prototype_videos(), section)

    def _candidates(
        self,
        snapshot: Snapshot,
        level1: _Level1,
        queries: Tensor,
        depth: int,
        allowed: np.ndarray | None,
        options: dict[str, Any],
    ) -> list[np.ndarray]:
        # Testing every code that is passed costs more than dropping a few hits afterwards.
        share = 1.0 if allowed is None else float(allowed.mean())
        selectors = self._selectors(level1, None if share > MOST else allowed)
        vectors = np.ascontiguousarray(queries.numpy())
        wanted = 2 * depth  # a video has several prototypes near a query
        while True:
            hits, scores, full = [], [], False
            for (index, base), selector in zip(level1.parts, selectors):
                number = min(wanted, index.ntotal)
                params = search_parameters(index, level1.section, options, number, selector, share)
                part_scores, part_hits = index.search(vectors, number, params=params)
                hits.append(np.where(part_hits < 0, -1, part_hits + base))
                scores.append(part_scores)
                full |= number < index.ntotal and bool((part_hits >= 0).all())
            rows = np.concatenate(hits, 1)
            owners = np.where(rows < 0, -1, level1.owners[rows])
            if allowed is not None:
                owners = np.where(allowed[owners], owners, -1)
            found = [
                first_of_each_video(own, s, depth)[0]
                for own, s in zip(owners, np.concatenate(scores, 1))
            ]
            if not full or min(map(len, found)) >= depth:
                return found
            wanted *= 2

    def _selectors(self, level1: _Level1, allowed: np.ndarray | None) -> list[Any]:
        """For each part a selector of allowed prototypes; None: all."""
        if allowed is None:
            return [None] * len(level1.parts)
        faiss = import_faiss()
        mask = allowed[level1.owners]
        return [
            faiss.IDSelectorBitmap(np.packbits(mask[base : base + index.ntotal], bitorder='little'))
            for index, base in level1.parts
        ]


def _write(index: Any, snapshot: Snapshot, name: str) -> FileInfo:
    file = CheckedFile(snapshot.root, name)

    def write(data: bytes) -> int:
        file.write(data)
        return len(data)

    try:
        import_faiss().write_index(index, import_faiss().PyCallbackIOWriter(write, 1 << 20))
        return file.close()
    except BaseException:
        file.discard()
        raise
