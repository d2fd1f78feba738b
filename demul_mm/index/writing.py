"""Writing videos into new segments, so that a killed run goes on where it stopped.

Segments that are finished but not yet committed stand in ``pending.json``. A run that is started
again finds their videos there and does not write them twice.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from demul_mm.index.codecs import PRODUCT, Codec, open_codec, write_codebook
from demul_mm.index.entry import EntrySource, VideoEntry
from demul_mm.index.errors import IndexMismatchError
from demul_mm.index.segment import Segment, SegmentWriter
from demul_mm.index.snapshot import Snapshot
from demul_mm.index.storage import FORMAT, FORMAT_VERSION, PENDING, read_json, write_json

# Videos that are encoded together.
BLOCK = 256
# The first videos, on which a codebook is trained.
TRAINING_VIDEOS = 2048


@dataclass
class Pending:
    """What an unfinished operation has written.

    Attributes:
        operation: 'build' or 'add'.
        settings: what must not change between the runs.
        next_segment: number of the next segment; numbers are never used again.
        dim: S, known from the first segment on.
        codebook: file of level 2's codec, if it has one.
        segments: as in the manifest.
    """

    operation: str
    settings: dict[str, Any]
    next_segment: int
    dim: int | None
    codebook: dict[str, Any] | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)

    def save(self, root: Path) -> None:
        """Replace the record on the disk."""
        write_json(root, PENDING, dict(format=FORMAT, version=FORMAT_VERSION, **vars(self)))

    @classmethod
    def load(cls, root: Path) -> 'Pending | None':
        """The record in ``root``, if there is one."""
        try:
            content = read_json(root, PENDING)
        except FileNotFoundError:
            return None
        del content['format'], content['version']
        return cls(**content)


def drop_committed(root: Path, manifest: dict[str, Any] | None) -> None:
    """Delete the record of an operation that was killed just after its commit."""
    pending = Pending.load(root)
    if pending is None or manifest is None:
        return
    committed = {segment['name'] for segment in manifest['segments']}
    if pending.segments and {s['name'] for s in pending.segments} <= committed:
        (root / PENDING).unlink()


def start(root: Path, fresh: Pending, resume: bool) -> Pending:
    """Take up what an earlier run left, or start afresh.

    Args:
        root: folder of the index.
        fresh: the record to start with.
        resume: False throws away what an earlier run left.

    Raises:
        IndexMismatchError: an unfinished run had other settings.
    """
    left = Pending.load(root)
    if left is None or not resume:
        (root / PENDING).unlink(missing_ok=True)
        return fresh
    if (left.operation, left.settings) != (fresh.operation, fresh.settings):
        raise IndexMismatchError(
            f'{root} holds an unfinished {left.operation} with {left.settings}, this is '
            f'{fresh.operation} with {fresh.settings}; run the unfinished one again, or give '
            'resume=False (--no-resume) to throw it away'
        )
    done = sum(s['videos'] for s in left.segments)
    MMLogger.get_current_instance().info(f'{root}: going on after {done} videos written before')
    return left


class EntryWriter:
    """Writes entries into pending segments.

    Args:
        root: folder of the index.
        pending: the record of the operation; kept up to date on the disk.
        snapshot: what the index holds already, if anything.
        on_existing: what to do with a video that the index holds: 'error', 'skip' or 'replace'.
        segment_videos: videos of a full segment.
        progress: called with the number of videos passed since the last call.
    """

    def __init__(
        self,
        root: Path,
        pending: Pending,
        snapshot: Snapshot | None,
        on_existing: str,
        segment_videos: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        if on_existing not in ('error', 'skip', 'replace'):
            raise ValueError(f"on_existing is {on_existing!r}; allowed: 'error', 'skip', 'replace'")
        self._root = root
        self._pending = pending
        self._snapshot = snapshot
        self._on_existing = on_existing
        self._segment_videos = segment_videos
        self._progress = progress or (lambda count: None)
        self._finished = [self._open(info) for info in pending.segments]
        self._resumed = list(self._finished)
        self._buffer: list[VideoEntry] = []
        self._in_segment: set[str] = set()
        self._writer: SegmentWriter | None = None

    def _open(self, info: dict[str, Any]) -> Segment:
        return Segment(self._root, info, self._codec(), verify=True)

    def _codec(self) -> Codec:
        pending = self._pending
        assert pending.dim is not None
        level2 = pending.settings['level2']
        return open_codec(self._root, level2, pending.dim, pending.codebook, verify=False)

    def run(self, entries: Iterable[VideoEntry] | EntrySource) -> None:
        """Write all entries; on return every one is in a finished segment."""
        left = sum(segment.num_videos for segment in self._resumed)
        try:
            if isinstance(entries, EntrySource):
                entries, passed = self._to_load(entries)
                left -= passed
            # No longer than a segment: what is taken but not yet in a segment can be lost.
            size = min(BLOCK, self._segment_videos)
            iterator = iter(entries)
            while block := list(itertools.islice(iterator, size)):
                left -= self._take(block)
            self._finish_segment()
        except BaseException:
            if self._writer:
                self._writer.discard()
            raise
        if left > 0:
            raise IndexMismatchError(
                f'the unfinished {self._pending.operation} in {self._root} had written {left} '
                'videos that are not among these; give all of them again, or resume=False '
                '(--no-resume) to start afresh'
            )

    def replaced(self) -> np.ndarray:
        """Ordinals of the videos in the snapshot that new ones stand for."""
        if not self._snapshot or self._on_existing != 'replace':
            return np.zeros(0, np.int64)
        found = [
            self._snapshot.find(segment.video_ids(np.arange(segment.num_videos)))
            for segment in self._finished
        ]
        ordinals = np.concatenate([np.zeros(0, np.int64), *found])
        return ordinals[ordinals >= 0]

    def _to_load(self, source: EntrySource) -> tuple[Iterable[VideoEntry], int]:
        """What of a source must still be encoded, and how many videos a killed run had written."""
        ids = list(source.ids())
        if len(set(ids)) < len(ids):
            twice = next(i for n, i in enumerate(ids) if i in ids[:n])
            raise ValueError(f'video {twice!r} is given twice; ids must be unique')
        skip = _positions(self._resumed, ids)
        resumed = len(skip)
        if self._on_existing == 'skip' and self._snapshot:
            skip = np.union1d(skip, np.flatnonzero(self._snapshot.find(ids) >= 0))
        self._progress(len(skip))
        mask = np.ones(len(ids), bool)
        mask[skip] = False
        return source.load([ids[i] for i in np.flatnonzero(mask)]), resumed

    def _take(self, block: list[VideoEntry]) -> int:
        """Write what of a block is new; returns how many of it a killed run had written."""
        ids = [entry.video_id for entry in block]
        resumed = set(_positions(self._resumed, ids).tolist())
        this_run = set(_positions(self._finished[len(self._resumed) :], ids).tolist())
        held = self._snapshot.find(ids) if self._snapshot else np.full(len(ids), -1)
        for i, entry in enumerate(block):
            if i in resumed:
                continue
            if i in this_run or entry.video_id in self._in_segment:
                raise ValueError(f'video {entry.video_id!r} is given twice; ids must be unique')
            if held[i] >= 0:
                if self._on_existing == 'error':
                    raise ValueError(
                        f'video {entry.video_id!r} is in the index already; give '
                        "on_existing='skip' or 'replace' (--on-existing), or remove it first"
                    )
                if self._on_existing == 'skip':
                    continue
            self._write(entry)
        self._progress(len(block))
        return len(resumed)

    def _write(self, entry: VideoEntry) -> None:
        entry.check(self._pending.dim)
        self._pending.dim = entry.moments.shape[1]
        self._buffer.append(entry)
        self._in_segment.add(entry.video_id)
        full = len(self._in_segment) == self._segment_videos
        untrained = self._pending.settings['level2'] in PRODUCT and not self._pending.codebook
        if full or len(self._buffer) == (TRAINING_VIDEOS if untrained else BLOCK):
            self._flush()
        if full:
            self._finish_segment()

    def _flush(self) -> None:
        if not self._buffer:
            return
        pending = self._pending
        name = f'{pending.next_segment:06d}'
        if pending.codebook is None:
            moments = np.concatenate([entry.moments for entry in self._buffer])
            pending.codebook = write_codebook(self._root, pending.settings['level2'], moments, name)
        if self._writer is None:
            prototypes = pending.settings['num_prototypes']
            self._writer = SegmentWriter(self._root, name, self._codec(), prototypes)
        for start in range(0, len(self._buffer), BLOCK):
            self._writer.append(self._buffer[start : start + BLOCK])
        self._buffer = []

    def _finish_segment(self) -> None:
        """Close the segment and put it on record: from here on it survives a kill."""
        self._flush()
        if self._writer is None:
            return
        info = self._writer.close()
        self._writer = None
        self._in_segment = set()
        self._pending.segments.append(info)
        self._pending.next_segment += 1
        self._pending.save(self._root)
        self._finished.append(self._open(info))


def _positions(segments: Sequence[Segment], ids: Sequence[str]) -> np.ndarray:
    """Which of ``ids`` are in any of the segments, ascending."""
    found = [segment.find(ids)[0] for segment in segments]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
