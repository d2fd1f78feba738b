"""The folder of an index: its generations, and who may change them."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demul_mm.index import commit
from demul_mm.index.codecs import LEVEL2
from demul_mm.index.entry import EntrySource, VideoEntry
from demul_mm.index.errors import IndexDamagedError, IndexMismatchError
from demul_mm.index.snapshot import Snapshot
from demul_mm.index.storage import MANIFEST, read_manifest, writer_lock
from demul_mm.index.writing import EntryWriter, Pending, drop_committed, start
from demul_mm.registry import INDEXES
from demul_mm.structures.names import as_names

if TYPE_CHECKING:
    from typing_extensions import Self

Entries = Iterable[VideoEntry] | EntrySource


class IndexFolder(ABC):
    """The corpus of an index on the disk: opening, building, changing.

    Writing operations take the folder's lock; readers, in this process or others, keep the
    generation they opened until :meth:`refresh`.

    Args:
        path: folder of the index; None: a temporary folder, gone with the object.
        num_prototypes: event prototypes of a video, at most.
        level2: how moment vectors are kept: 'int8'; 'fp16'; or product-quantised on the first
            videos, 'pq2' with a byte for two dimensions, 'pq4' with one for four.
        segment_videos: a killed build loses at most this many videos' work.
        model_fingerprint: of the weights and config that made the vectors.
        feature_fingerprint: of the features they were made from.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        num_prototypes: int = 24,
        level2: str = 'int8',
        segment_videos: int = 50_000,
        model_fingerprint: str = '',
        feature_fingerprint: str = '',
    ) -> None:
        if level2 not in LEVEL2:
            raise ValueError(f'level2 is {level2!r}; it must be one of {", ".join(LEVEL2)}')
        for name, value in dict(
            num_prototypes=num_prototypes, segment_videos=segment_videos
        ).items():
            if value < 1:
                raise ValueError(f'{name} is {value}; it must be at least 1')
        if path is None:
            self._folder = tempfile.TemporaryDirectory(prefix='demul_index_')
            path = self._folder.name
        self.path = Path(path)
        self.segment_videos = segment_videos
        self._settings: dict[str, Any] = dict(
            num_prototypes=num_prototypes,
            level2=level2,
            model_fingerprint=model_fingerprint,
            feature_fingerprint=feature_fingerprint,
        )
        # Replaced as a whole, so that a search in another thread sees one generation.
        self._state: tuple[Snapshot, Any] | None = None

    # What a backend provides; searching is in MomentIndex.

    def options(self) -> dict[str, Any]:
        """Constructor options of the backend alone, for the manifest; never a secret."""
        return {}

    @abstractmethod
    def _update_level1(self, snapshot: Snapshot, old: dict[str, Any] | None) -> dict[str, Any]:
        """Bring level 1 up to ``snapshot``.

        New files get new names; ``old`` (the section of the generation before, None after a build
        or compaction) and its files must stay valid.

        Returns:
            The manifest's section ``level1``; ``files`` in it is a list of file infos.
        """

    @abstractmethod
    def _open_level1(self, snapshot: Snapshot, verify: bool, known: Any) -> Any:
        """What searching level 1 needs, from the manifest of ``snapshot``.

        Args:
            snapshot: to be searched.
            verify: compare checksums.
            known: what this method returned for another generation, or None; what has not
                changed can be used again.
        """

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
            path: its folder.
            expected_fingerprint: of the weights that will encode the queries.
            expected_features: of the features that will be added.
            verify: compare all checksums (about a second for each 1.5 GB); sizes always are.

        Raises:
            FileNotFoundError: there is no index.
            IndexFormatError: it is damaged, or of a newer version.
            IndexMismatchError: it was made by other weights or other features.
        """
        manifest = read_manifest(Path(path))
        backend = INDEXES.get(manifest['backend'])
        if backend is None or not issubclass(backend, cls):
            raise IndexMismatchError(
                f'{path} is of the backend {manifest["backend"]}, not {cls.__name__}; open it with '
                'MomentIndex.open'
            )
        for key, expected in dict(
            model_fingerprint=expected_fingerprint, feature_fingerprint=expected_features
        ).items():
            found = manifest['settings'][key]
            if expected is not None and expected != found:
                what = key.removesuffix('_fingerprint')
                raise IndexMismatchError(
                    f'{path} was made with {what} {found or "unknown"!r}, this is {what} '
                    f'{expected!r}; search it with the {what} that made it, or build it again'
                )
        index = backend(
            path=path,
            segment_videos=manifest['segment_videos'],
            **manifest['settings'],
            **manifest['options'],
        )
        index._load(verify)
        return index

    def _load(self, verify: bool) -> None:
        for _ in range(5):
            manifest = read_manifest(self.path)
            known = self._state or (None, None)
            try:
                snapshot = Snapshot(self.path, manifest, verify, known[0])
                self._state = (snapshot, self._open_level1(snapshot, verify, known[1]))
                return
            except IndexDamagedError:
                # A writer may have removed the generation that was just being opened.
                if read_manifest(self.path)['generation'] == manifest['generation']:
                    raise
        raise IndexDamagedError(f'{self.path} changes faster than it can be opened; try again')

    def refresh(self) -> bool:
        """Take up what writers have committed since; returns whether there was anything."""
        generation = read_manifest(self.path)['generation']
        if generation == self.snapshot.manifest['generation']:
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
        """The generation that searches see."""
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
        with self._writing('build') as old:
            if old and not overwrite:
                raise FileExistsError(
                    f'{self.path} holds an index of {old["counts"]["videos"]} videos; add to it, '
                    'choose another folder, or give overwrite=True (--overwrite)'
                )
            fresh = Pending('build', self._settings, commit.next_segment(self.path, old), dim=None)
            pending = start(self.path, fresh, resume)
            writer = EntryWriter(self.path, pending, None, 'error', self.segment_videos, progress)
            writer.run(entries)
            if pending.dim is None:
                raise ValueError(f'no videos were given; {self.path} was not built')
            manifest = commit.new_manifest(self, self._settings, pending, old)
            self._commit(manifest, None, finished=True)

    def add(
        self,
        entries: Entries,
        on_existing: str = 'error',
        resume: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Add videos; all become visible at once, at the end.

        Args:
            entries: as in :meth:`build`.
            on_existing: what to do with a video that is there: 'error', 'skip' or 'replace'.
            resume: False throws away what a killed run left.
            progress: called with a number of videos as they pass.
        """
        with self._writing('add'):
            snapshot = self._fresh_snapshot()
            old = snapshot.manifest
            pending = Pending(
                'add', self._settings, old['next_segment'], old['dim'], old['codebook']
            )
            pending = start(self.path, pending, resume)
            writer = EntryWriter(
                self.path, pending, snapshot, on_existing, self.segment_videos, progress
            )
            writer.run(entries)
            removed = np.union1d(snapshot.removed, writer.replaced())
            manifest = commit.next_manifest(old, old['segments'] + pending.segments)
            manifest['next_segment'] = max(old['next_segment'], pending.next_segment)
            commit.set_removed(self.path, manifest, removed)
            manifest = commit.merge_small(self.path, manifest, self.segment_videos)
            self._commit(manifest, old['level1'], finished=True)

    def remove(self, video_ids: Sequence[str], missing: str = 'error') -> int:
        """Take videos out; returns how many. The space comes back with :meth:`compact`.

        Args:
            video_ids: which.
            missing: what to do about an id that is not there: 'error' or 'ignore'.
        """
        if missing not in ('error', 'ignore'):
            raise ValueError(f"missing is {missing!r}; allowed: 'error', 'ignore'")
        video_ids = as_names(video_ids, 'video ids')
        with self._writing('remove'):
            snapshot = self._fresh_snapshot()
            found = snapshot.find(video_ids)
            absent = [i for i, ordinal in zip(video_ids, found) if ordinal < 0]
            if absent and missing == 'error':
                raise KeyError(
                    f'{len(absent)} videos are not in the index, e.g. {absent[0]!r}; nothing was '
                    "removed (missing='ignore' or --ignore-missing removes the others)"
                )
            gone = np.unique(found[found >= 0])
            manifest = commit.next_manifest(snapshot.manifest, snapshot.manifest['segments'])
            commit.set_removed(self.path, manifest, np.union1d(snapshot.removed, gone))
            self._commit(manifest, snapshot.manifest['level1'])
            return len(gone)

    def compact(self) -> None:
        """Write the index anew without its removed videos, in full segments."""
        with self._writing('compact'):
            snapshot = self._fresh_snapshot()
            manifest = commit.rewrite(self.path, snapshot, self.segment_videos)
            self._commit(manifest, None)

    def save(self, path: str | Path) -> 'Self':
        """Write a compacted copy into another folder, and open it."""
        target = Path(path)
        if (target / MANIFEST).exists():
            raise FileExistsError(f'{target} holds an index already; choose another folder')
        copy = type(self)(
            path=target, segment_videos=self.segment_videos, **self._settings, **self.options()
        )
        with writer_lock(target, 'save'):
            copy._commit(commit.rewrite(target, self.snapshot, self.segment_videos), None)
        return copy

    @contextmanager
    def _writing(self, operation: str) -> Iterator[dict[str, Any] | None]:
        """Hold the lock; gives the manifest that is there."""
        with writer_lock(self.path, operation):
            old = commit.read_old(self.path)
            drop_committed(self.path, old)
            yield old

    def _fresh_snapshot(self) -> Snapshot:
        """What is committed now, whatever this object has seen."""
        snapshot = self.snapshot
        if read_manifest(self.path)['generation'] != snapshot.manifest['generation']:
            self._load(verify=True)
        return self.snapshot

    def _commit(
        self, manifest: dict[str, Any], old_level1: dict[str, Any] | None, finished: bool = False
    ) -> None:
        """Bring level 1 up to date, then make ``manifest`` the index."""
        known = self._state or (None, None)
        snapshot = Snapshot(self.path, manifest, verify=False, known=known[0])
        manifest['level1'] = self._update_level1(snapshot, old_level1)
        commit.publish(self.path, manifest, finished)
        self._state = (snapshot, self._open_level1(snapshot, verify=False, known=known[1]))
        self._after_commit(snapshot)

    def _after_commit(self, snapshot: Snapshot) -> None:  # noqa: B027 - optional
        """Tidy up what the generation before needed and this one does not."""
