"""Both levels in Milvus: a Milvus Lite file, or a Milvus standalone or cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demul_mm.index.base import MomentIndex
from demul_mm.index.cache import Block, scan
from demul_mm.index.entry import VideoEntry
from demul_mm.index.errors import IndexFormatError, IndexLockedError
from demul_mm.index.milvus_collections import SPAN, TEXT, Collections, num_pieces, row_ids
from demul_mm.index.results import SearchResult
from demul_mm.index.search import Level1Query, exhaustive_candidates, first_of_each_video
from demul_mm.index.snapshot import Snapshot, codec_of
from demul_mm.index.store import Store, read_info
from demul_mm.registry import INDEXES

if TYPE_CHECKING:
    import lance

# Milvus returns no more hits than this.
MAX_HITS = 16_384
# Queries that are asked together.
TOGETHER = 64
Answer = TypeVar('Answer')


class _RemovedError(Exception):
    """A video was removed since the version was opened, which has noted it."""


class _ServerStore(Store):
    """Of an index that was opened by its server's address: it can only be searched."""

    def find(self) -> NoReturn:
        raise ValueError(f'{self.uri} can only be searched; change the index by its folder')

    def lock(self, operation: str) -> NoReturn:
        raise ValueError(f'{self.uri} can only be searched; change the index by its folder')


class MilvusSnapshot(Snapshot):
    """The videos of one version, their moments in Milvus.

    Args:
        collections: what Milvus holds of the index.
        info: that was published with the version.
    """

    def __init__(self, collections: Collections, info: dict[str, Any]) -> None:
        self.listing = collections.listing(info['next'])
        self.collections = collections
        count = len(self.listing.numbers)
        super().__init__(
            info, info['published'], [self.listing.rows], np.ones(count, bool), self.listing.counts
        )

    def ordinals(self, numbers: np.ndarray) -> np.ndarray:
        """Of videos by number; -1 for one that is not of this version."""
        known = self.listing.numbers
        places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        return np.where(known[places] == numbers, places, -1)

    def gather(self, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both, offsets = self._read(ordinals)
        return np.ascontiguousarray(both[:, :-SPAN]), offsets

    def gather_spans(self, ordinals: np.ndarray, moments: np.ndarray) -> np.ndarray:
        videos, places = np.unique(ordinals, return_inverse=True)
        both, offsets = self._read(videos)
        return np.ascontiguousarray(both[offsets[places] + moments, -SPAN:]).view('<f4')

    def _read(self, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes and spans ``(N, code bytes + SPAN)``, and ``(C + 1,)`` where each video starts."""
        width = self.codec.bytes_per_row + SPAN
        counts = self.counts[ordinals]
        pieces = num_pieces(counts, width)
        ids = row_ids(self.listing.numbers[ordinals], pieces)
        found = self.collections.contents(ids)
        if len(found) < len(ids):
            there = np.isin(ids, list(found))
            self.alive[np.repeat(ordinals, pieces)[~there]] = False
            raise _RemovedError
        rows = np.frombuffer(b''.join(found[i] for i in ids.tolist()), np.uint8)
        return rows.reshape(-1, width), np.concatenate([[0], np.cumsum(counts)])


@INDEXES.register_module()
@dataclass(eq=False, repr=False)
class MilvusIndex(MomentIndex):
    """Both levels in Milvus, where processes on any number of machines search them.

    The folder keeps the truth, and what is written is written by it. A search needs the server
    alone: ``MomentIndex.open('http://host:19530/collection')`` opens the index without its folder.
    Searching sees the version that was opened, less what was removed since; :meth:`refresh` takes
    up what was added.

    With the default Milvus Lite file one process at a time can have the index open, and searching
    is far slower than :class:`FaissIndex` (docs/index.md has the figures): it is the same code as
    against a server, to begin with and to test with. Milvus keeps its own files, which no checksum
    of ours covers; after :meth:`drop` the next opening by the folder makes all of it anew.

    Args:
        path: see :class:`MomentIndex`, or ``http://host:19530/collection``.
        num_prototypes, level2, segment_videos, model_fingerprint, feature_fingerprint: see
            :class:`MomentIndex`.
        uri: address of the server, as ``http://host:19530``; None: ``milvus.db`` in the folder.
        collection: what the names of its two collections begin with; on a server each index needs
            one of its own.
        index_type: kind of Milvus's index, for level 1, as 'FLAT', 'HNSW', 'IVF_FLAT' or
            'AUTOINDEX'.
        token: ``user:password`` or an API key; the environment variable ``MILVUS_TOKEN`` unless
            given. It is not written into the index.

    Search options: those of the Milvus index type, as ``ef`` or ``nprobe``.
    """

    longest_text = TEXT

    uri: str | None = None
    collection: str = 'demul_index'
    index_type: str = 'FLAT'
    token: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.served = str(self.path).startswith(('http://', 'https://'))
        if self.served:
            self.store = _ServerStore(self.path)
            self.uri, self.collection = _split(self.path)
        self._made: Collections | None = None

    def options(self) -> dict[str, Any]:
        return dict(uri=self.uri, collection=self.collection, index_type=self.index_type)

    @staticmethod
    def info_of(address: str | Path) -> dict[str, Any]:
        """What is known of an index at ``http://host:19530/collection``.

        Raises:
            FileNotFoundError: there is none.
        """
        info = Collections(*_split(address), None).info()
        if info is None:
            raise FileNotFoundError(f'{address} holds no index, or one that is not yet published')
        return info

    @property
    def collections(self) -> Collections:
        """What Milvus holds, connected to when it is first asked for."""
        if self._made is None:
            uri = self.uri or str((self.store.home / 'milvus.db').resolve())
            self._made = Collections(uri, self.collection, self.token)
        return self._made

    def drop(self) -> None:
        """Delete all that Milvus holds of the index; its folder stays as it is."""
        self.collections.drop()
        self._state = None

    # Versions.

    def _taken(self) -> str | None:
        there = f'{self.collections.uri} has collections of the name {self.collection!r}'
        return super()._taken() or (there if self.collections.exist() else None)

    def _publish(self, table: 'lance.LanceDataset') -> None:
        info, held = read_info(table), self.collections
        before = held.info()
        number = before['next'] if before else 1
        same = ('settings', 'options', 'dim', 'codebook')
        if before is None or any(before[key] != info[key] for key in same):
            held.create(info['dim'], self.index_type)
            listing = held.listing(1)  # nothing
        elif self._state and self._state[0].version == before['published']:
            listing = self._state[0].listing  # only who holds the lock, as this does, changes it
        else:
            listing = held.listing(number)
        held.delete_from(number)
        named = list(zip(listing.rows['id'].to_pylist(), listing.checks))
        truth = table.to_table(['id', 'check'])
        wanted = set(zip(truth['id'].to_pylist(), truth['check'].to_pylist()))
        gone = np.array([one not in wanted for one in named], bool)
        held.delete(listing, gone, info)
        new = pa.array([name for name, _ in wanted.difference(named)], pa.string())
        codec = codec_of(info)
        for fragment in self.store.fragments(table, verify=True) if len(new) else ():
            for rows in scan(fragment):
                rows = rows.filter(pc.is_in(rows['id'], value_set=new))
                if len(rows):
                    block = Block(rows, codec)
                    number = held.enter(block, number, info['settings']['num_prototypes'])
        held.publish(dict(info, published=table.version, next=number))

    def _load(self, verify: bool) -> None:
        version = None if self.served else self.store.find().version
        info = self.collections.info()
        if version is not None and (info is None or info['published'] != version):
            info = self._caught_up(info)
        if info is None:
            raise IndexFormatError(
                f'{self.path} is not at {self.collections.uri}, or not yet: try again when whoever '
                'writes it has ended'
            )
        self._state = (MilvusSnapshot(self.collections, info), None)

    def _caught_up(self, info: dict[str, Any] | None) -> dict[str, Any] | None:
        """Publish what a writer that was killed has not; leave it to one who is at it."""
        try:
            with self.store.lock('publish'):
                self._publish(self.store.find())
        except IndexLockedError:
            return info
        return self.collections.info()

    def refresh(self) -> bool:
        info = self.collections.info()
        if info is not None and info['published'] == self.snapshot.version:
            return False
        self._load(verify=True)
        return True

    # Searching.

    def search(self, *args: Any, **kwargs: Any) -> SearchResult:
        return _again(lambda: super(MilvusIndex, self).search(*args, **kwargs))

    def get(self, video_ids: str | Sequence[str]) -> list[VideoEntry]:
        return _again(lambda: super(MilvusIndex, self).get(video_ids))

    def _describe_level1(self, level1: Any) -> tuple[dict[str, Any], int]:
        return dict(kind='milvus', uri=self.collections.uri, collection=self.collection), 0

    def _check_options(self, options: dict[str, Any]) -> None:
        """The server does: what there is depends on the type of its index."""

    def _candidates(self, asked: Level1Query) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for start in range(0, len(asked.queries), TOGETHER):
            some = asked._replace(queries=asked.queries[start : start + TOGETHER])
            found += self._nearest(some)
        return found

    def _nearest(self, asked: Level1Query) -> list[np.ndarray]:
        snapshot, depth, allowed = asked.snapshot, asked.depth, asked.allowed
        assert isinstance(snapshot, MilvusSnapshot)
        wanted = min(int(2 * depth / max(float(allowed.mean()), 1e-6)), MAX_HITS)
        while True:
            found, full = [], False
            answers = snapshot.collections.nearest(asked.queries.numpy(), wanted, asked.options)
            for numbers, scores in answers:
                owners = snapshot.ordinals(numbers)
                owners = np.where((owners >= 0) & allowed[owners], owners, -1)
                found.append(first_of_each_video(owners, scores, depth)[0])
                full |= len(numbers) == wanted and len(found[-1]) < depth
            if not full or wanted == MAX_HITS:
                break
            wanted = min(2 * wanted, MAX_HITS)
        for i, ordinals in enumerate(found):
            # So selective a filter that the hits were used up: score what is allowed instead.
            if full and len(ordinals) < depth:
                query = asked.queries[i : i + 1]
                found[i] = exhaustive_candidates(snapshot, query, depth, allowed)[0]
        return found


def _split(address: str | Path) -> tuple[str, str]:
    """A server's address and the name of collections in it."""
    uri, _, collection = str(address).rstrip('/').rpartition('/')
    if not urlsplit(uri).netloc:
        raise ValueError(f'{address} names no collection; give http://HOST:PORT/COLLECTION')
    return uri, collection


def _again(ask: Callable[[], Answer]) -> Answer:
    """An answer from what is left, where videos turn out to have been removed."""
    while True:
        try:
            return ask()
        except _RemovedError:
            pass
