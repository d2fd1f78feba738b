"""Writing the videos of a build or an addition, so that a killed run can be resumed.

They go into a data set of their own, with a commit for every so many videos, and from there into
the index in a single commit.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from mmengine.logging import MMLogger

from demul_mm.index.codecs import PRODUCT, train_codebook
from demul_mm.index.entry import EntrySource, VideoEntry
from demul_mm.index.errors import IndexFormatError, IndexMismatchError
from demul_mm.index.snapshot import codec_of
from demul_mm.index.store import SCHEMA, Store, encode_rows, lance_errors, open_table, read_info
from demul_mm.index.store import write as write_rows
from demul_mm.structures.names import as_names

if TYPE_CHECKING:
    import lance

# Videos that are encoded together.
BLOCK = 256
# The first videos, on which a codebook is trained.
TRAINING_VIDEOS = 2048
# Encoded rows that are held in memory, at most.
HELD_BYTES = 1 << 28

Entries = Iterable[VideoEntry] | EntrySource


class PendingVideos:
    """The videos of an operation that is under way.

    Args:
        store: where the index is kept.
        operation: 'build' or 'add'.
        info: what is known of the index: ``settings``, ``segment_videos``; ``dim`` and
            ``codebook``, None where not yet known.
        resume: go on after what a killed run has written; False: throw it away.
        longest_text: that the backend can keep; see :meth:`VideoEntry.check`.

    Attributes:
        table: what is written, or None.

    Raises:
        IndexMismatchError: the killed run had other settings.
    """

    def __init__(
        self,
        store: Store,
        operation: str,
        info: dict[str, Any],
        resume: bool,
        longest_text: float = math.inf,
    ) -> None:
        self.uri = store.pending
        self.longest_text = longest_text
        self.info = dict(info, operation=operation)
        self.table = self._left(store) if resume else None
        self._resumed: set[str] = set()
        if self.table is None:
            self.drop()  # also what a killed run had begun to delete
            return
        left = read_info(self.table)
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

    def _left(self, store: Store) -> lance.LanceDataset | None:
        """What a killed run has written, unless it was committed or half deleted."""
        try:
            left, videos = open_table(self.uri), store.videos_if_any()
            if left is None or videos is None:
                return left
            with lance_errors(self.uri):
                checks = [t.to_table(['check'])['check'].to_numpy() for t in (left, videos)]
        except IndexFormatError:
            return None
        return None if np.isin(*checks).all() else left

    def drop(self) -> None:
        """Delete the data set, whatever is left of it."""
        if '://' not in self.uri:
            shutil.rmtree(self.uri, ignore_errors=True)
            return
        import lance

        with contextlib.suppress(ValueError):  # hardly anything was left
            lance.LanceDataset.drop(self.uri, ignore_not_found=True)

    def write(
        self,
        entries: Entries,
        held: Iterable[str] = (),
        on_existing: str = 'error',
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write all entries that are new.

        Args:
            on_existing: what to do with a video of these: 'error', 'skip' or 'replace'.
            progress: called with the number of videos passed since the last call.

        Raises:
            IndexMismatchError: the killed run had other videos, or replaced some and this does not.
        """
        if on_existing not in ('error', 'skip', 'replace'):
            raise ValueError(f"on_existing is {on_existing!r}; allowed: 'error', 'skip', 'replace'")
        held, progress = set(held), progress or (lambda count: None)
        again = sorted(self._resumed & held)
        if again and on_existing != 'replace':
            raise IndexMismatchError(
                f'the unfinished {self.info["operation"]} in {self.uri} replaces {len(again)} '
                f'videos that the index holds, such as {again[0]!r}; go on with '
                "on_existing='replace' (--on-existing), or give resume=False (--no-resume) to "
                'throw it away'
            )
        passed: set[str] = set()
        if isinstance(entries, EntrySource):
            ids = as_names(entries.ids(), 'video ids')
            if len(set(ids)) < len(ids):
                twice = next(i for n, i in enumerate(ids) if i in ids[:n])
                raise ValueError(f'video {twice!r} is given twice; ids must be unique')
            passed = self._resumed | (held if on_existing == 'skip' else set())
            todo = [i for i in ids if i not in passed]
            passed &= set(ids)
            progress(len(ids) - len(todo))
            entries = entries.load(todo)
        new = self._new(entries, passed, held, on_existing, progress)
        while self._write_segment(new):
            pass
        left = len(self._resumed - passed)
        if left:
            raise IndexMismatchError(
                f'the unfinished {self.info["operation"]} in {self.uri} had written {left} videos '
                'that are not among these; give all of them again, or resume=False (--no-resume) '
                'to start afresh'
            )

    def _new(
        self,
        entries: Iterable[VideoEntry],
        passed: set[str],
        held: set[str],
        on_existing: str,
        progress: Callable[[int], None],
    ) -> Iterator[VideoEntry]:
        """Those that are not written yet, checked; ids are added to ``passed``."""
        for entry in entries:
            name = entry.video_id
            if name in passed:
                raise ValueError(f'video {name!r} is given twice; ids must be unique')
            passed.add(name)
            progress(1)
            if name in self._resumed or (name in held and on_existing == 'skip'):
                continue
            if name in held and on_existing == 'error':
                raise ValueError(
                    f'video {name!r} is in the index already; give on_existing='
                    "'skip' or 'replace' (--on-existing), or remove it first"
                )
            entry.check(self.info['dim'], self.longest_text)
            self.info['dim'] = entry.moments.shape[1]
            yield entry

    def _write_segment(self, entries: Iterator[VideoEntry]) -> bool:
        """Write some videos and commit them; from here on they survive a kill."""
        rows: list[pa.RecordBatch] = []
        count = held = 0
        limit = self.info['segment_videos']
        while count < limit and held < HELD_BYTES:
            size = BLOCK if self.info['codebook'] is not None else TRAINING_VIDEOS
            block = list(itertools.islice(entries, min(size, limit - count)))
            if not block:
                break
            if self.info['codebook'] is None:
                parts = PRODUCT[self.info['settings']['level2']]
                book = train_codebook(np.concatenate([entry.moments for entry in block]), parts)
                self.info['codebook'] = base64.b64encode(book.astype('<f4').tobytes()).decode()
            rows.append(encode_rows(block, codec_of(self.info)))
            count, held = count + len(block), held + rows[-1].nbytes
        if rows:
            mode = 'create' if self.table is None else 'append'
            table = pa.Table.from_batches(rows, SCHEMA)
            self.table = write_rows(table, self.uri, mode, self.info)
        return bool(rows)
