"""Writing the videos of a build or an addition where a killed run finds them again.

They go into a data set of their own, a commit for every so many videos, and from there into the
index in one.
"""

import base64
import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from mmengine.logging import MMLogger

from demul_mm.index.codecs import PRODUCT, train_codebook
from demul_mm.index.entry import EntrySource, VideoEntry
from demul_mm.index.errors import IndexDamagedError, IndexFormatError, IndexMismatchError
from demul_mm.index.snapshot import codec_of
from demul_mm.index.store import SCHEMA, encode_rows, lance_errors, open_table, read_info, write
from demul_mm.structures.names import as_names

# Videos that are encoded together.
BLOCK = 256
# The first videos, on which a codebook is trained.
TRAINING_VIDEOS = 2048
# Encoded rows that are held in memory, at most.
HELD_BYTES = 1 << 28

Entries = Iterable[VideoEntry] | EntrySource


def drop(uri: str) -> None:
    """Delete a data set, whatever is left of it."""
    if '://' not in uri:
        shutil.rmtree(uri, ignore_errors=True)
        return
    with contextlib.suppress(ValueError):  # hardly anything was left
        lance.LanceDataset.drop(uri, ignore_not_found=True)


def open_pending(uri: str, videos: lance.LanceDataset | None) -> lance.LanceDataset | None:
    """What a killed run has written; what was committed or half deleted is thrown away."""
    try:
        pending = open_table(uri)
        if pending is None:
            drop(uri)  # what a killed run had begun to delete
            return None
        with lance_errors(uri):
            both = [table for table in (pending, videos) if table is not None]
            checks = [table.to_table(['check'])['check'].to_numpy() for table in both]
    except (IndexDamagedError, IndexFormatError):
        drop(uri)
        return None
    if videos is not None and np.isin(*checks).all():
        drop(uri)
        return None
    return pending


class PendingVideos:
    """The videos of an operation that is under way.

    Args:
        uri: of their data set.
        info: of the index: ``settings``, ``dim`` and ``codebook``, None where not yet known.
        operation: 'build' or 'add'.
        left: what a killed run has written, to go on after it.
        held: ids that the index holds.
        on_existing: what to do with a video of these: 'error', 'skip' or 'replace'.
        segment_videos: a commit is made after so many.
        progress: called with the number of videos passed since the last call.

    Raises:
        IndexMismatchError: the killed run had other settings.
    """

    def __init__(
        self,
        uri: str,
        info: dict[str, Any],
        operation: str,
        left: lance.LanceDataset | None,
        held: Iterable[str],
        on_existing: str,
        segment_videos: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        if on_existing not in ('error', 'skip', 'replace'):
            raise ValueError(f"on_existing is {on_existing!r}; allowed: 'error', 'skip', 'replace'")
        self.uri = uri
        self.info = dict(info, operation=operation)
        self.table = left
        self._held = set(held)
        self._on_existing = on_existing
        self._segment_videos = segment_videos
        self._progress = progress or (lambda count: None)
        self._resumed: set[str] = set()
        if left is not None:
            self._take_up(read_info(left))

    def _take_up(self, left: dict[str, Any]) -> None:
        assert self.table is not None
        old, new = ((i['operation'], i['settings']) for i in (left, self.info))
        if old != new:
            raise IndexMismatchError(
                f'{self.uri} holds an unfinished {old[0]} with {old[1]}, this is {new[0]} with '
                f'{new[1]}; run the unfinished one again, or give resume=False (--no-resume) to '
                'throw it away'
            )
        self.info.update(dim=left['dim'], codebook=left['codebook'])
        self._resumed = set(self.table.to_table(['id'])['id'].to_pylist())
        MMLogger.get_current_instance().info(
            f'{self.uri}: going on after {len(self._resumed)} videos written before'
        )

    def run(self, entries: Entries) -> None:
        """Write all entries that are new."""
        left = len(self._resumed)
        if isinstance(entries, EntrySource):
            ids = as_names(entries.ids(), 'video ids')
            if len(set(ids)) < len(ids):
                twice = next(i for n, i in enumerate(ids) if i in ids[:n])
                raise ValueError(f'video {twice!r} is given twice; ids must be unique')
            skip = self._resumed | (self._held if self._on_existing == 'skip' else set())
            todo = [i for i in ids if i not in skip]
            left -= len(self._resumed.intersection(ids))
            self._progress(len(ids) - len(todo))
            entries = entries.load(todo)
        new = self._new(entries)
        while self._write_segment(new):
            pass
        left -= self._passed
        if left > 0:
            raise IndexMismatchError(
                f'the unfinished {self.info["operation"]} in {self.uri} had written {left} videos '
                'that are not among these; give all of them again, or resume=False (--no-resume) '
                'to start afresh'
            )

    def _new(self, entries: Iterable[VideoEntry]) -> Iterator[VideoEntry]:
        """Those that are not written yet, checked."""
        seen: set[str] = set()
        self._passed = 0  # of those that a killed run had written
        for entry in entries:
            name = entry.video_id
            if name in seen:
                raise ValueError(f'video {name!r} is given twice; ids must be unique')
            seen.add(name)
            self._progress(1)
            if name in self._resumed:
                self._passed += 1
            elif name in self._held and self._on_existing == 'error':
                raise ValueError(
                    f'video {name!r} is in the index already; give on_existing='
                    "'skip' or 'replace' (--on-existing), or remove it first"
                )
            elif name not in self._held or self._on_existing == 'replace':
                entry.check(self.info['dim'])
                self.info['dim'] = entry.moments.shape[1]
                yield entry

    def _write_segment(self, entries: Iterator[VideoEntry]) -> bool:
        """Write some videos and commit them; from here on they survive a kill."""
        rows: list[pa.RecordBatch] = []
        count = held = 0
        while count < self._segment_videos and held < HELD_BYTES:
            size = BLOCK if self.info['codebook'] is not None else TRAINING_VIDEOS
            block = list(itertools.islice(entries, min(size, self._segment_videos - count)))
            if not block:
                break
            if self.info['codebook'] is None:
                self.info['codebook'] = self._codebook(block)
            codec = codec_of(self.info)
            rows.append(encode_rows(block, codec))
            count, held = count + len(block), held + rows[-1].nbytes
        if rows:
            mode = 'create' if self.table is None else 'append'
            self.table = write(pa.Table.from_batches(rows, SCHEMA), self.uri, mode, self.info)
        return bool(rows)

    def _codebook(self, block: Sequence[VideoEntry]) -> str:
        """What the codec needs, as text; nothing unless it is product quantisation."""
        parts = PRODUCT.get(self.info['settings']['level2'])
        if parts is None:
            return ''
        book = train_codebook(np.concatenate([entry.moments for entry in block]), parts)
        return base64.b64encode(book.astype('<f4').tobytes()).decode()
