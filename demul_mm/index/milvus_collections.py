"""What Milvus holds of an index: two collections, whose rows have the ids of their videos.

A video has a number that is never given again; a row's id is the number, shifted, and the row's
place among those of its video.

===================  ===========================================================================
``NAME_prototypes``  level 1, a row for each: ``vector``
``NAME_videos``      level 2: ``content``, in as many rows as it needs; the first also has the
                     ``video`` (its id), ``duration``, ``metadata`` (JSON, empty for none),
                     ``moments`` (their number) and ``check``, as the data set has it
===================  ===========================================================================

The content is, for each moment, its code and its span (float32), and of the video 0 what is known
of the index, as JSON. It is written in base64: the fields for bytes are all of one length, and
Milvus Lite has none.
"""

from __future__ import annotations

import binascii
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from demul_mm.index.cache import Block
from demul_mm.index.snapshot import codec_of

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SHIFT = 20
# Bytes of content in a row; their base64 stays under the 65,535 of Milvus.
PIECE = 48_000
TEXT = 65_535
# Bytes of a span, two float32.
SPAN = 8
# A message stays under 64 MB: about so many bytes are written, and so many rows read, at once.
MESSAGE = 1 << 24
ROWS = 800
# Videos that are entered, numbers that are listed, and ids that are deleted, together.
TOGETHER = 256
LISTED = 2048
# By default a server of gRPC ends a connection that asks more often whether it is still there.
GRPC = {'grpc.keepalive_time_ms': 300_000}


class Listing(NamedTuple):
    """The videos of an index.

    Attributes:
        numbers: ``(V,)`` int64, ascending.
        rows: ``id``, ``duration`` and ``metadata``.
        counts: ``(V,)``, of moments.
        checks: ``(V,)``.
    """

    numbers: np.ndarray
    rows: pa.RecordBatch
    counts: np.ndarray
    checks: list[int]


class Collections:
    """The two collections of an index.

    Args:
        uri: address of the server, or a file of Milvus Lite.
        name: what the names of the two begin with.
        token: the environment variable ``MILVUS_TOKEN`` unless given.
    """

    def __init__(self, uri: str, name: str, token: str | None) -> None:
        self.uri = uri
        self.prototypes, self.videos = f'{name}_prototypes', f'{name}_videos'
        self.client = _connect(uri, os.environ.get('MILVUS_TOKEN', '') if token is None else token)

    def exist(self) -> bool:
        """Whether there are any."""
        with milvus_errors(f'{self.uri} does not answer'):
            return self.client.has_collection(self.videos)

    def info(self) -> dict[str, Any] | None:
        """What :meth:`publish` was given last."""
        if not self.exist():
            return None
        with milvus_errors(f'{self.videos} at {self.uri} cannot be read'):
            self.client.load_collection(self.prototypes)
            self.client.load_collection(self.videos)
        # What was written before this is seen by searches after it, however little they wait.
        self._query(self.prototypes, 'id < 0', ['id'])
        text = b''.join(map(_bytes, self._query(self.videos, f'id < {1 << SHIFT}', ['content'])))
        return json.loads(text) if text else None

    def create(self, dim: int, index_type: str) -> None:
        """Make them anew, empty."""
        from pymilvus import DataType

        self.drop()
        with milvus_errors(f'{self.videos} could not be created at {self.uri}'):
            for name, width in ((self.prototypes, dim), (self.videos, 2)):
                schema = self.client.create_schema(auto_id=False)
                schema.add_field('id', DataType.INT64, is_primary=True)
                # Milvus has no collection without a vector.
                schema.add_field('vector', DataType.FLOAT_VECTOR, dim=width)
                if name == self.videos:
                    for text in ('video', 'metadata', 'content'):
                        schema.add_field(text, DataType.VARCHAR, max_length=TEXT)
                    schema.add_field('duration', DataType.FLOAT)
                    schema.add_field('moments', DataType.INT64)
                    schema.add_field('check', DataType.INT64)
                params = self.client.prepare_index_params()
                params.add_index(
                    'vector',
                    index_type=index_type if name == self.prototypes else 'FLAT',
                    metric_type='IP',
                    params=dict(M=32, efConstruction=100, nlist=1024),
                )
                self.client.create_collection(
                    name, schema=schema, index_params=params, consistency_level='Strong'
                )

    def drop(self) -> None:
        """Delete them."""
        with milvus_errors(f'{self.videos} could not be deleted at {self.uri}'):
            for name in (self.videos, self.prototypes):
                if self.client.has_collection(name):
                    self.client.drop_collection(name)

    def listing(self, end: int) -> Listing:
        """All videos with a number below ``end``."""
        fields = ['id', 'video', 'duration', 'metadata', 'moments', 'check']
        found: list[dict[str, Any]] = []
        for start in range(1, end, LISTED):
            stop = min(start + LISTED, end)
            some = f'id >= {start << SHIFT} and id < {stop << SHIFT} and moments > 0'
            found += self._query(self.videos, some, fields)
        columns = {name: [row[name] for row in found] for name in fields}
        rows = pa.record_batch(
            dict(
                id=pa.array(columns['video'], pa.string()),
                duration=pa.array(columns['duration'], pa.float32()),
                metadata=pa.array([text or None for text in columns['metadata']], pa.string()),
            )
        )
        numbers = np.array(columns['id'], np.int64) >> SHIFT
        return Listing(numbers, rows, np.array(columns['moments'], np.int64), columns['check'])

    def enter(self, block: Block, number: int, num_prototypes: int) -> int:
        """Enter some videos by numbers from ``number`` on; returns the next number."""
        content = np.concatenate([block.moments, block.spans.view(np.uint8)], 1)
        videos = _known_of(block)
        for start in range(0, len(videos), TOGETHER):
            part = range(start, min(start + TOGETHER, len(videos)))
            prototypes = (
                dict(id=(number + row << SHIFT) + place, vector=vector)
                for row, vectors in zip(part, block.prototypes(part, num_prototypes))
                for place, vector in enumerate(vectors)
            )
            pieces = (
                piece
                for row in part
                for piece in _pieces(
                    number + row,
                    content[slice(*block.starts[row : row + 2])].tobytes(),
                    videos[row],
                )
            )
            self._insert(self.prototypes, prototypes)
            self._insert(self.videos, pieces)
        return number + len(videos)

    def publish(self, info: dict[str, Any]) -> None:
        """Say what is known of the index; with it, readers see what was entered."""
        rows = list(_pieces(0, json.dumps(info).encode(), {}))
        with milvus_errors(f'{self.videos} could not be written at {self.uri}'):
            # Searching what is not yet in a sealed segment takes ten times as long and more.
            self.client.flush(self.prototypes)
            self.client.upsert(self.videos, rows)

    def delete_from(self, number: int) -> None:
        """Delete what a writer that was killed has left: all from this number on."""
        with milvus_errors(f'{self.videos} could not be written at {self.uri}'):
            for name in (self.prototypes, self.videos):
                self.client.delete(name, filter=f'id >= {number << SHIFT}')

    def delete(self, listing: Listing, which: np.ndarray, info: dict[str, Any]) -> None:
        """Delete some of the videos of a listing."""
        numbers, counts = listing.numbers[which], listing.counts[which]
        prototypes = np.minimum(counts, info['settings']['num_prototypes'])
        pieces = num_pieces(counts, codec_of(info).bytes_per_row + SPAN)
        with milvus_errors(f'{self.videos} could not be written at {self.uri}'):
            for name, rows in ((self.videos, pieces), (self.prototypes, prototypes)):
                ids = row_ids(numbers, rows)
                for start in range(0, len(ids), LISTED):
                    self.client.delete(name, ids=ids[start : start + LISTED].tolist())

    def contents(self, ids: np.ndarray) -> dict[int, bytes]:
        """The content of rows; of those that are no longer there, none."""
        found: dict[int, bytes] = {}
        for start in range(0, len(ids), ROWS):
            part = ids[start : start + ROWS].tolist()
            rows = self._query(self.videos, f'id in {part}', ['id', 'content'], 'Eventually')
            if len(rows) < len(part):  # of several servers, one may be behind
                rows = self._query(self.videos, f'id in {part}', ['id', 'content'])
            found.update((row['id'], _bytes(row)) for row in rows)
        return found

    def nearest(
        self, queries: np.ndarray, limit: int, options: dict[str, Any]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each query, numbers of the videos of the best prototypes, and their scores."""
        with milvus_errors(f'searching {self.prototypes} at {self.uri} failed'):
            answers = self.client.search(
                self.prototypes,
                data=list(queries),
                limit=limit,
                search_params=dict(metric_type='IP', params=options),
                consistency_level='Eventually',
            )
        for hits in answers:
            numbers = np.array([hit['id'] for hit in hits], np.int64) >> SHIFT
            yield numbers, np.array([hit['distance'] for hit in hits], np.float32)

    def _query(
        self, name: str, condition: str, fields: Sequence[str], level: str = 'Strong'
    ) -> list[dict[str, Any]]:
        with milvus_errors(f'{name} at {self.uri} cannot be read'):
            rows = self.client.query(
                name, filter=condition, output_fields=list(fields), consistency_level=level
            )
        return sorted(rows, key=lambda row: row['id'])

    def _insert(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        some: list[dict[str, Any]] = []
        size = 0
        with milvus_errors(f'{name} could not be written at {self.uri}'):
            for row in rows:
                some.append(row)
                size += 4 * len(row['vector']) + len(row.get('content', ''))
                if size > MESSAGE:
                    self.client.insert(name, some)
                    some, size = [], 0
            if some:
                self.client.insert(name, some)


def num_pieces(counts: np.ndarray, row_bytes: int) -> np.ndarray:
    """How many rows the content of videos with so many moments needs."""
    return -(-counts * row_bytes // PIECE)


def row_ids(numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Ids of the first so many rows of videos."""
    places = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    return np.repeat(numbers << SHIFT, rows) + places


def _known_of(block: Block) -> list[dict[str, Any]]:
    """What the first row of each video says."""
    rows = block.rows.select(['id', 'duration', 'metadata', 'check']).to_pylist()
    return [
        dict(
            video=row['id'],
            duration=row['duration'],
            metadata=row['metadata'] or '',
            moments=int(count),
            check=row['check'],
        )
        for row, count in zip(rows, np.diff(block.starts))
    ]


def _pieces(number: int, content: bytes, video: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of a video, of which the first alone says what is known of it."""
    rest = dict(vector=[0.0, 0.0], video='', duration=0.0, metadata='', moments=0, check=0)
    for place, start in enumerate(range(0, len(content), PIECE)):
        text = binascii.b2a_base64(content[start : start + PIECE], newline=False).decode()
        yield dict(rest, **({} if place else video), id=(number << SHIFT) + place, content=text)


def _bytes(row: dict[str, Any]) -> bytes:
    return binascii.a2b_base64(row['content'])


def _connect(uri: str, token: str) -> MilvusClient:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ImportError(
            "MilvusIndex needs pymilvus and milvus-lite: pip install 'demul-mm[milvus]', "
            'or use FaissIndex'
        ) from error
    with milvus_errors(
        f'could not connect to Milvus at {uri}; a Milvus Lite file can be open in one '
        'process only, a server needs its address and token'
    ):
        return MilvusClient(uri=uri, token=token, grpc_options=GRPC)


@contextmanager
def milvus_errors(message: str) -> Iterator[None]:
    """Turn what Milvus refuses into one clear line."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise RuntimeError(f'{message} ({error.message})') from error
