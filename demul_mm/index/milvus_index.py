"""Level 1 in Milvus: a Milvus Lite file, or a Milvus standalone or cluster."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from demul_mm.index.base import MomentIndex
from demul_mm.index.cache import Fragment
from demul_mm.index.search import Asked, exhaustive_candidates, first_of_each_video
from demul_mm.index.snapshot import Snapshot
from demul_mm.registry import INDEXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymilvus import MilvusClient

# Milvus returns no more hits than this.
MAX_HITS = 16_384
# Rows of an insertion; a message must stay under 64 MB.
INSERT_ROWS = 4096
# A row's id is the number of its fragment, shifted, and the number of the prototype in it.
SHIFT = 32


@dataclass
class _Level1:
    """The collection, and how to read its ids."""

    client: 'MilvusClient'
    owners: dict[int, np.ndarray]  # by the number of a fragment, ordinals of its prototypes' videos

    def videos(self, ids: np.ndarray) -> np.ndarray:
        """Ordinals of the videos of rows, -1 for a row of no fragment of this version."""
        found = np.full(len(ids), -1, np.int64)
        for number in np.unique(ids >> SHIFT):
            owners = self.owners.get(int(number), np.zeros(0, np.int64))
            rows = ids - (number << SHIFT)
            mine = (rows >= 0) & (rows < len(owners))
            found[mine] = owners[rows[mine]]
        return found


@INDEXES.register_module()
class MilvusIndex(MomentIndex):
    """Level 1 in Milvus; level 2 stays in the folder, as with every backend.

    With the default Milvus Lite file one process at a time can have the index open, and searching
    is far slower than :class:`FaissIndex` (docs/index.md has the figures): it is the same code as
    against a server, to begin with and to test with. Milvus has no versions: a reader should
    :meth:`refresh` after each write. Milvus keeps its own files, which no checksum of ours covers;
    :meth:`compact` makes anew what has changed.

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
            uri = self.uri or str((self.store.home / 'milvus.db').resolve())
            token = self._token or os.environ.get('MILVUS_TOKEN', '')
            with _milvus_errors(
                f'could not connect to Milvus at {uri}; a Milvus Lite file can be open in one '
                'process only, a server needs its address and token'
            ):
                self._client = MilvusClient(uri=uri, token=token)
        return self._client

    def _open_level1(self, snapshot: Snapshot, verify: bool, known: Any) -> _Level1:
        client, name = self._connect(), self.collection
        with _milvus_errors(f'level 1 of {self.path} could not be brought up to date'):
            self._create(client, snapshot.codec.dim)
            client.load_collection(name)
            for fragment in snapshot.fragments:
                there = client.query(name, filter=_rows_of(fragment), output_fields=['count(*)'])
                if there[0]['count(*)'] != len(fragment.owners):
                    _insert(client, name, fragment)
            client.flush(name)
        owners = {
            fragment.number: fragment.owners + int(base)
            for fragment, base in zip(snapshot.fragments, snapshot.fragment_bases)
        }
        return _Level1(client, owners)

    def _finish(self) -> None:
        super()._finish()
        # Rows of fragments that are no more, which other readers cannot name any longer either.
        numbers = sorted(fragment.number for fragment in self.snapshot.fragments)
        between = [
            f'(id >= {(a + 1) << SHIFT} and id < {b << SHIFT})'
            for a, b in zip([-1, *numbers], [*numbers, 1 << 30])
            if b > a + 1
        ]
        with _milvus_errors(f'level 1 of {self.path} could not be tidied'):
            self._connect().delete(self.collection, filter=' or '.join(between))

    def _describe_level1(self, level1: _Level1) -> tuple[dict[str, Any], int]:
        return dict(kind='milvus', collection=self.collection), 0

    def _create(self, client: 'MilvusClient', dim: int) -> None:
        from pymilvus import DataType

        if client.has_collection(self.collection):
            fields = client.describe_collection(self.collection)['fields']
            vector = next(field for field in fields if field['name'] == 'vector')
            if int(vector['params']['dim']) == dim:
                return
            client.drop_collection(self.collection)
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
            self.collection, schema=schema, index_params=params, consistency_level='Strong'
        )

    def _candidates(self, asked: Asked) -> list[np.ndarray]:
        level1, depth, allowed = asked.level1, asked.depth, asked.allowed
        most = min(MAX_HITS, max(1, sum(map(len, level1.owners.values()))))
        wanted = min(int(2 * depth / max(float(allowed.mean()), 1e-6)), most)
        while True:
            with _milvus_errors(f'searching the collection {self.collection!r} failed'):
                answers = level1.client.search(
                    self.collection,
                    data=list(asked.queries.numpy()),
                    limit=wanted,
                    output_fields=['id'],
                    search_params=dict(metric_type='IP', params=asked.options),
                )
            found = [_videos(level1, hits, depth, allowed) for hits in answers]
            if min(map(len, found)) >= depth or wanted == most:
                break
            wanted = min(2 * wanted, most)
        for i, ordinals in enumerate(found):
            # So selective a filter that the hits were used up: score what is allowed instead.
            if len(ordinals) < depth and wanted == MAX_HITS:
                query = asked.queries[i : i + 1]
                found[i] = exhaustive_candidates(asked.snapshot, query, depth, allowed)[0]
        return found


def _videos(level1: _Level1, hits: Any, depth: int, allowed: np.ndarray) -> np.ndarray:
    owners = level1.videos(np.array([hit['id'] for hit in hits], np.int64))
    owners = np.where((owners >= 0) & allowed[owners], owners, -1)
    scores = np.array([hit['distance'] for hit in hits], np.float32)
    return first_of_each_video(owners, scores, depth)[0]


def _rows_of(fragment: Fragment) -> str:
    return f'id >= {fragment.number << SHIFT} and id < {(fragment.number + 1) << SHIFT}'


def _insert(client: 'MilvusClient', collection: str, fragment: Fragment) -> None:
    client.delete(collection, filter=_rows_of(fragment))  # of a writer that was killed
    first = fragment.number << SHIFT
    for vectors in fragment.prototypes():
        for start in range(0, len(vectors), INSERT_ROWS):
            part = vectors[start : start + INSERT_ROWS]
            rows = [dict(id=first + i, vector=vector) for i, vector in enumerate(part)]
            client.upsert(collection, rows)
            first += len(part)


@contextmanager
def _milvus_errors(message: str) -> 'Iterator[None]':
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise RuntimeError(f'{message} ({error.message})') from error
