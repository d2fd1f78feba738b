"""The interface of a corpus index: what it holds, and changing it."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from demul_mm.index.cache import tidy
from demul_mm.index.codecs import LEVEL2, PRODUCT
from demul_mm.index.entry import VideoEntry
from demul_mm.index.errors import IndexDamagedError, IndexMismatchError
from demul_mm.index.search import Searcher
from demul_mm.index.snapshot import MappedSnapshot, Snapshot
from demul_mm.index.store import Store, files_of, lance_errors, read_info, write
from demul_mm.index.writing import Entries, PendingVideos
from demul_mm.registry import INDEXES
from demul_mm.structures.names import as_names

if TYPE_CHECKING:
    import lance
    from typing_extensions import Self

# So many fragments of fewer than so many videos are merged, those of each size with their like:
# a search visits every fragment, and merging makes its caches anew.
MAX_SMALL_FRAGMENTS = 8
SMALL = (1_000, 10_000, 100_000)
FULL = 1 << 20


@dataclass(eq=False, repr=False)
class MomentIndex(Searcher):
    """A corpus of videos in which moments are searched by vectors.

    Level 1 finds candidate videos by a few event prototypes each; level 2 scores every moment of
    the candidates exactly. Backends differ in how level 1 is searched. One object may be searched
    from several threads.

    The truth is a Lance data set; everything that makes searching fast is a cache beside it, made
    anew where it is missing or does not match. Writing takes a lock; readers, in this process or
    others, keep the version they opened until :meth:`refresh`.

    Args:
        path: folder of the index, or its address in an object store, as ``s3://bucket/name`` (keys
            and endpoint from the environment, caches in the user's cache folder); None: a
            temporary folder, gone with the object.
        num_prototypes: event prototypes of a video, at most.
        level2: how moment vectors are kept: 'int8'; 'fp16'; or product-quantised on the first
            videos, 'pq2' with a byte for two dimensions, 'pq4' with one for four.
        segment_videos: a killed build loses at most this many videos' work.
        model_fingerprint: mark of the weights and config that made the vectors.
        feature_fingerprint: mark of the features they were made from.
    """

    path: Any = None
    num_prototypes: int = 24
    level2: str = 'int8'
    segment_videos: int = 50_000
    model_fingerprint: str = ''
    feature_fingerprint: str = ''

    def __post_init__(self) -> None:
        if self.level2 not in LEVEL2:
            raise ValueError(f'level2 is {self.level2!r}; it must be one of {", ".join(LEVEL2)}')
        for name in ('num_prototypes', 'segment_videos'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1')
        if self.path is None:
            self._folder = tempfile.TemporaryDirectory(prefix='demul_index_')
            self.path = self._folder.name
        self.store = Store(self.path)
        self.path = Path(self.store.uri) if self.store.local else self.store.uri
        self._settings: dict[str, Any] = dict(
            num_prototypes=self.num_prototypes,
            level2=self.level2,
            model_fingerprint=self.model_fingerprint,
            feature_fingerprint=self.feature_fingerprint,
        )
        # Replaced as a whole, so that a search in another thread sees one version.
        self._state: tuple[Any, Any] | None = None

    # What a backend provides, beside Searcher._candidates.

    longest_text = math.inf  # bytes of an id, or of a video's metadata as JSON

    def options(self) -> dict[str, Any]:
        """Constructor options of the backend alone, to be written down; never a secret."""
        return {}

    def _open_level1(self, snapshot: MappedSnapshot, verify: bool, known: Any) -> Any:
        """What searching level 1 needs, made where it is missing.

        Args:
            verify: compare checksums of caches.
            known: what this method returned for another version, or None; what has not changed
                can be used again.
        """
        return None

    def _describe_level1(self, level1: Any) -> tuple[dict[str, Any], int]:
        """Words about level 1, and its bytes on the disk."""
        return dict(kind='exact'), 0

    def _publish(self, table: 'lance.LanceDataset') -> None:
        """Give a server the version that was just committed."""

    def _taken(self) -> str | None:
        """What building would write over, in words."""
        old = self.store.videos_if_any()
        return None if old is None else f'{self.path} holds an index of {old.count_rows()} videos'

    # Opening.

    @classmethod
    def open(
        cls,
        path: str | Path,
        expected_fingerprint: str | None = None,
        expected_features: str | None = None,
        verify: bool = True,
    ) -> 'Self':
        """Open an index that exists, with the backend that made it.

        Args:
            path: its folder, its address in an object store, or, of a :class:`MilvusIndex`, that
                of its server.
            expected_fingerprint: mark of the weights that will encode the queries.
            expected_features: mark of the features that will be added.
            verify: compare all checksums.

        Raises:
            FileNotFoundError: there is no index.
            IndexFormatError: it is damaged, or of another version.
            IndexMismatchError: it was made by other weights or other features.
        """
        served = str(path).startswith(('http://', 'https://'))
        info = INDEXES.get('MilvusIndex').info_of(path) if served else read_info(Store(path).find())
        backend = INDEXES.get(info['backend'])
        if backend is None or not issubclass(backend, cls):
            raise IndexMismatchError(
                f'{path} is of the backend {info["backend"]}, not {cls.__name__}; open it with '
                'MomentIndex.open'
            )
        for key, expected in dict(
            model_fingerprint=expected_fingerprint, feature_fingerprint=expected_features
        ).items():
            found = info['settings'][key]
            if expected is not None and expected != found:
                what = key.removesuffix('_fingerprint')
                raise IndexMismatchError(
                    f'{path} was made with {what} {found or "unknown"!r}, this is {what} '
                    f'{expected!r}; search it with the {what} that made it, or build it again'
                )
        index = backend(
            path=path,
            segment_videos=info['segment_videos'],
            **info['settings'],
            **info['options'],
        )
        index._load(verify)
        return index

    def _load(self, verify: bool) -> None:
        for _ in range(5):
            table = self.store.find()
            snapshot, level1 = self._state or (None, None)
            try:
                snapshot = MappedSnapshot(table, self.store, verify, snapshot)
                self._state = (snapshot, self._open_level1(snapshot, verify, level1))
                return
            except (IndexDamagedError, OSError):
                # A writer may have removed the version that was just being opened.
                if self.store.find().version == table.version:
                    raise
        raise IndexDamagedError(f'{self.path} changes faster than it can be opened; try again')

    def refresh(self) -> bool:
        """Take up what writers have committed since; returns whether there was anything."""
        if self.store.find().version == self.snapshot.version:
            return False
        self._load(verify=True)
        return True

    def _opened(self) -> tuple[Snapshot, Any]:
        if self._state is None:
            self._load(verify=True)
        assert self._state is not None
        return self._state

    @property
    def snapshot(self) -> Snapshot:
        """The version that searches see."""
        return self._opened()[0]

    # Writing.

    def build(
        self,
        entries: Entries,
        resume: bool = True,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Make the index from all its videos.

        Killed, it leaves what was there before, and run again goes on where it stopped.

        Args:
            entries: the videos; an :class:`EntrySource` is not asked again for videos that a
                killed run had written, a plain iterable is passed through from the start.
            resume: False throws away what a killed run left.
            overwrite: replace an index that is there.
            progress: called with a number of videos as they pass.
        """
        with self.store.lock('build'):
            taken = self._taken()
            if taken and not overwrite:
                raise FileExistsError(
                    f'{taken}; add to it, choose another, or give overwrite=True (--overwrite)'
                )
            quantised = self._settings['level2'] in PRODUCT
            info = dict(
                backend=type(self).__name__,
                options=self.options(),
                settings=self._settings,
                segment_videos=self.segment_videos,
                dim=None,
                codebook=None if quantised else '',
            )
            pending = PendingVideos(self.store, 'build', info, resume, self.longest_text)
            pending.write(entries, progress=progress)
            if pending.table is None:
                raise ValueError(f'no videos were given; {self.path} was not built')
            there = self.store.videos_if_any() is not None
            self._commit(pending, 'overwrite' if there else 'create')

    def add(
        self,
        entries: Entries,
        on_existing: str = 'error',
        resume: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Add videos; all become visible at once, at the end.

        Args:
            on_existing: what to do with a video that is there: 'error', 'skip' or 'replace'.
            resume: False throws away what a killed run left.
        """
        with self.store.lock('add'):
            table = self.store.find()
            held = table.to_table(['id'])['id'].to_pylist()
            info = read_info(table)
            pending = PendingVideos(self.store, 'add', info, resume, self.longest_text)
            pending.write(entries, held, on_existing, progress)
            if pending.table is not None:
                self._commit(pending, 'upsert' if on_existing == 'replace' else 'append')
            else:
                self._finish()

    def remove(self, video_ids: str | Sequence[str], missing: str = 'error') -> int:
        """Take videos out; returns how many. The space comes back with :meth:`compact`.

        Args:
            video_ids: which; a string is one id.
            missing: what to do about an id that is not there: 'error' or 'ignore'.
        """
        if missing not in ('error', 'ignore'):
            raise ValueError(f"missing is {missing!r}; allowed: 'error', 'ignore'")
        ids = list(dict.fromkeys(as_names(video_ids, 'video ids')))
        with self.store.lock('remove'):
            table = self.store.find()
            held = set(table.to_table(['id'])['id'].to_pylist())
            absent = [name for name in ids if name not in held]
            if absent and missing == 'error':
                raise KeyError(
                    f'{len(absent)} videos are not in the index, e.g. {absent[0]!r}; nothing was '
                    "removed (missing='ignore' or --ignore-missing removes the others)"
                )
            if len(absent) < len(ids):
                with lance_errors(self.store.videos, writing=True):
                    merge = table.merge_insert('id').when_matched_delete()
                    merge.execute(pa.table({'id': pa.array(ids, pa.string())}))
            self._finish()
            return len(ids) - len(absent)

    def compact(self) -> None:
        """Write the index anew without its removed videos, in few fragments."""
        with self.store.lock('compact'):
            with lance_errors(self.store.videos, writing=True):
                self.store.find().optimize.compact_files(
                    target_rows_per_fragment=FULL, materialize_deletions_threshold=0.0
                )
            self._finish()

    def _commit(self, pending: PendingVideos, mode: str) -> None:
        assert pending.table is not None
        reader = pending.table.scanner(scan_in_order=True).to_reader()
        info = {key: value for key, value in pending.info.items() if key != 'operation'}
        write(reader, self.store.videos, mode, info)
        pending.drop()
        self._finish()

    def _finish(self) -> None:
        """After a commit: merge small fragments, make caches, delete what is of no more use."""
        table = self.store.find()
        with lance_errors(self.store.videos, writing=True):
            for size in SMALL:
                rows = np.array([f.physical_rows for f in table.get_fragments()])
                if (rows < size).sum() > MAX_SMALL_FRAGMENTS:
                    table.optimize.compact_files(
                        target_rows_per_fragment=size, materialize_deletions=False
                    )
            # What no version names was left by a killed writer.
            table.cleanup_old_versions(timedelta(0), delete_unverified=self.store.local)
        table = self.store.find()
        self._publish(table)
        self._load(verify=False)
        fragments = table.get_fragments()
        manifests = Path(self.store.videos, '_versions').glob('*.manifest')
        checked = [*map(Path, files_of(fragments)), *manifests]
        names = {Path(fragment.data_files()[0].path).stem for fragment in fragments}
        tidy(self.store.cache, names | {f'check-{path.stem}' for path in checked})

    # What it holds.

    def get(self, video_ids: str | Sequence[str]) -> list[VideoEntry]:
        """Videos as the index holds them, in the order given; a string is one id.

        Raises:
            KeyError: the index does not hold one of them.
        """
        snapshot, ids = self.snapshot, as_names(video_ids, 'video ids')
        ordinals = snapshot.find(ids)
        absent = [name for name, ordinal in zip(ids, ordinals) if ordinal < 0]
        if absent:
            raise KeyError(f'{len(absent)} videos are not in the index, e.g. {absent[0]!r}')
        return [snapshot.entry(int(ordinal)) for ordinal in ordinals]

    def stats(self) -> dict[str, Any]:
        """Counts, sizes and provenance, as numbers and text."""
        snapshot, level1 = self._opened()
        words, level1_bytes = self._describe_level1(level1)
        videos = int(snapshot.alive.sum())
        rows = int(snapshot.counts.sum())  # those of removed videos stay on the disk
        counts = snapshot.counts[snapshot.alive]
        parts = dict(
            videos=snapshot.num_bytes,
            moments=rows * snapshot.codec.bytes_per_row,
            spans=rows * 8,
            level1=level1_bytes,
        )
        return dict(
            path=str(self.path),
            backend=snapshot.info['backend'],
            generation=snapshot.version,
            dim=snapshot.info['dim'],
            videos=videos,
            moments=int(counts.sum()),
            prototypes=int(np.minimum(counts, self._settings['num_prototypes']).sum()),
            removed=snapshot.num_videos - videos,
            fragments=snapshot.num_fragments,
            bytes_on_disk=sum(parts.values()),
            bytes_per_video=sum(parts.values()) / max(videos, 1),
            bytes_by_part=parts,
            level1=words,
            **snapshot.info['settings'],
        )
