"""Level 1 in Milvus: a Milvus Lite file, or a Milvus standalone or cluster."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from demul_mm.index.base import MomentIndex
from demul_mm.index.candidates import first_of_each_video
from demul_mm.index.search import exhaustive_candidates
from demul_mm.index.snapshot import Snapshot
from demul_mm.registry import INDEXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymilvus import MilvusClient

# Milvus returns no more hits than this.
MAX_HITS = 16_384
# Rows of an insertion; a message must stay under 64 MB.
INSERT_ROWS = 4096
# A row's id is the number of its segment, shifted, and the number of the prototype in it.
SEGMENT_SHIFT = 32


@dataclass
class _Level1:
    """The collection, and how to read its ids."""

    client: 'MilvusClient'
    collection: str
    owners: np.ndarray  # (P,) ordinal of each prototype's video
    bases: dict[int, tuple[int, int]]  # segment number: first prototype, how many

    def videos(self, ids: np.ndarray) -> np.ndarray:
        """Ordinals of the videos of rows, -1 for a row of no segment of this generation."""
        numbers, rows = ids >> SEGMENT_SHIFT, ids & ((1 << SEGMENT_SHIFT) - 1)
        found = np.full(len(ids), -1, np.int64)
        for number in np.unique(numbers):
            base, count = self.bases.get(int(number), (0, 0))
            mine = (numbers == number) & (rows < count)
            found[mine] = self.owners[base + rows[mine]]
        return found


@INDEXES.register_module()
class MilvusIndex(MomentIndex):
    """Level 1 in Milvus; level 2 stays in the folder, as with every backend.

    With the default Milvus Lite file one process at a time can have the index open, and searching
    is far slower than :class:`FaissIndex` (docs/index.md has the figures): it is the same code as
    against a server, to begin with and to test with. Milvus has no generations: a reader should
    :meth:`refresh` after each write, and must after :meth:`compact`. Milvus keeps its own files,
    which the manifest's checksums do not cover; :meth:`compact` makes them anew from the segments.

    Args:
        path, num_prototypes, level2, segment_videos, model_fingerprint, feature_fingerprint: see
            :class:`MomentIndex`.
        uri: of the server, as ``http://host:19530``; None: ``milvus.db`` in the folder.
        collection: name of the collection; on a server each index needs one of its own.
        index_type: of Milvus, as 'FLAT', 'HNSW', 'IVF_FLAT' or 'AUTOINDEX'.
        token: ``user:password`` or an API key; the environment variable ``MILVUS_TOKEN`` unless
            given. It is not written into the index.

    Search options: those of the Milvus index type, as ``ef`` or ``nprobe``.
    """

    def __init__(
        self,
        path: Any = None,
        num_prototypes: int = 24,
        level2: str = 'int8',
        segment_videos: int = 50_000,
        model_fingerprint: str = '',
        feature_fingerprint: str = '',
        uri: str | None = None,
        collection: str = 'demul_prototypes',
        index_type: str = 'FLAT',
        token: str | None = None,
    ) -> None:
        super().__init__(
            path=path,
            num_prototypes=num_prototypes,
            level2=level2,
            segment_videos=segment_videos,
            model_fingerprint=model_fingerprint,
            feature_fingerprint=feature_fingerprint,
        )
        self.uri = uri
        self.collection = collection
        self.index_type = index_type
        self._token = token
        self._client: MilvusClient | None = None

    def options(self) -> dict[str, Any]:
        return dict(uri=self.uri, collection=self.collection, index_type=self.index_type)

    def _connect(self) -> 'MilvusClient':
        if self._client is None:
            try:
                from pymilvus import MilvusClient
            except ImportError as error:
                raise ImportError(
                    "MilvusIndex needs pymilvus and milvus-lite: pip install 'demul-mm[milvus]', "
                    'or use FaissIndex'
                ) from error
            uri = self.uri or str((self.path / 'milvus.db').resolve())
            token = self._token or os.environ.get('MILVUS_TOKEN', '')
            with _milvus_errors(
                f'could not connect to Milvus at {uri}; a Milvus Lite file can be open in one '
                'process only, a server needs its address and token'
            ):
                self._client = MilvusClient(uri=uri, token=token)
        return self._client

    # Building.

    def _update_level1(self, snapshot: Snapshot, old: dict[str, Any] | None) -> dict[str, Any]:
        client = self._connect()
        current = [segment.name for segment in snapshot.segments]
        if old is None:
            collection = f'{self.collection}_{snapshot.manifest["generation"]}'
            inserted, expired = [], []
        else:
            collection, inserted, expired = old['collection'], old['inserted'], old['stale']
        with _milvus_errors(f'writing level 1 of {self.path} to Milvus failed'):
            if old is None:
                self._create(client, collection, snapshot.codec.dim)
            # What was stale already in the generation before, no reader needs any more.
            for name in expired:
                first = int(name) << SEGMENT_SHIFT
                client.delete(
                    collection, filter=f'id >= {first} and id < {first + (1 << SEGMENT_SHIFT)}'
                )
            for segment in snapshot.segments:
                if segment.name not in inserted:
                    _insert(client, collection, segment)
            client.flush(collection)
            client.load_collection(collection)
        return dict(
            kind='milvus',
            collection=collection,
            inserted=current,
            stale=[n for n in inserted if n not in current and n not in expired],
        )

    def _create(self, client: 'MilvusClient', collection: str, dim: int) -> None:
        from pymilvus import DataType

        if client.has_collection(collection):  # left by a run that was killed
            client.drop_collection(collection)
        schema = client.create_schema(auto_id=False)
        schema.add_field('id', DataType.INT64, is_primary=True)
        schema.add_field('vector', DataType.FLOAT_VECTOR, dim=dim)
        params = client.prepare_index_params()
        params.add_index(
            'vector',
            index_type=self.index_type,
            metric_type='IP',
            params=dict(M=32, efConstruction=100, nlist=1024),
        )
        client.create_collection(
            collection, schema=schema, index_params=params, consistency_level='Strong'
        )

    def _after_commit(self, snapshot: Snapshot) -> None:
        client = self._connect()
        current = snapshot.manifest['level1']['collection']
        for name in client.list_collections():
            base, _, generation = name.rpartition('_')
            if base == self.collection and generation.isdigit() and name != current:
                client.drop_collection(name)

    # Opening and searching.

    def _open_level1(self, snapshot: Snapshot, verify: bool, known: Any) -> _Level1:
        bases = {
            int(segment.name): (int(base), segment.num_prototypes)
            for segment, base in zip(snapshot.segments, snapshot.prototype_bases)
        }
        client, collection = self._connect(), snapshot.manifest['level1']['collection']
        with _milvus_errors(f'{self.path}: its collection {collection!r} could not be opened'):
            client.load_collection(collection)
        return _Level1(client, collection, snapshot.prototype_videos(), bases)

    def _candidates(
        self,
        snapshot: Snapshot,
        level1: _Level1,
        queries: Tensor,
        depth: int,
        allowed: np.ndarray | None,
        options: dict[str, Any],
    ) -> list[np.ndarray]:
        share = 1.0 if allowed is None else float(allowed.mean())
        total = len(level1.owners)
        wanted = min(int(2 * depth / max(share, 1e-6)), MAX_HITS, total)
        while True:
            with _milvus_errors(
                f'searching the collection {level1.collection!r} failed; if the index was '
                'compacted meanwhile, refresh() it'
            ):
                answers = level1.client.search(
                    level1.collection,
                    data=list(queries.numpy()),
                    limit=wanted,
                    output_fields=['id'],
                    search_params=dict(metric_type='IP', params=options),
                )
            found = [_videos(level1, hits, depth, allowed) for hits in answers]
            if min(map(len, found)) >= depth or wanted == min(MAX_HITS, total):
                break
            wanted = min(2 * wanted, MAX_HITS, total)
        everything = np.arange(snapshot.num_videos) if allowed is None else np.flatnonzero(allowed)
        for i, ordinals in enumerate(found):
            # So selective a filter that the hits were used up: score what is allowed instead.
            if len(ordinals) < depth and wanted == MAX_HITS:
                found[i] = exhaustive_candidates(snapshot, queries[i : i + 1], depth, everything)[0]
        return found


def _videos(level1: _Level1, hits: Any, depth: int, allowed: np.ndarray | None) -> np.ndarray:
    owners = level1.videos(np.array([hit['id'] for hit in hits], np.int64))
    if allowed is not None:
        owners = np.where((owners >= 0) & allowed[owners], owners, -1)
    scores = np.array([hit['distance'] for hit in hits], np.float32)
    return first_of_each_video(owners, scores, depth)[0]


def _insert(client: 'MilvusClient', collection: str, segment: Any) -> None:
    first = int(segment.name) << SEGMENT_SHIFT
    for start in range(0, segment.num_prototypes, INSERT_ROWS):
        vectors = segment.decoded_prototypes(start, start + INSERT_ROWS)
        rows = [dict(id=first + start + i, vector=vector) for i, vector in enumerate(vectors)]
        client.upsert(collection, rows)


@contextmanager
def _milvus_errors(message: str) -> 'Iterator[None]':
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise RuntimeError(f'{message} ({error.message})') from error
