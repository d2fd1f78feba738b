"""Copies of a fragment in the forms that are fast to search; each can be deleted at any time.

A fragment of the data set never changes but for deletions. What is made of it is kept in files
named after its data file, whose name is unique, and after the CRC-32 of their own contents. A file
that is missing, does not match its name or cannot be opened is made anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demul_mm.index.codecs import Codec
from demul_mm.index.errors import IndexDamagedError
from demul_mm.index.prototypes import select_prototypes
from demul_mm.index.store import MEND, checksum, lance_errors, row_checks
from demul_mm.index.words import Postings, texts_of

if TYPE_CHECKING:
    from lance.fragment import LanceFragment

# Videos that are read from the data set together.
BLOCK = 4096
# Videos whose prototypes are in memory together.
TOGETHER = 256
SEED = 0
LOCK = '.lock'
Opened = TypeVar('Opened')


def open_or_make(
    folder: Path,
    name: str,
    suffix: str,
    verify: bool,
    read: Callable[[Path], Opened],
    make: Callable[[Path], None],
) -> Opened:
    """What ``read`` makes of the file of that name, which ``make`` has written if need be.

    Args:
        name: how the file's name begins; its checksum is added.
        suffix: with its dots; it has no hyphen.
        verify: compare the checksum of a file that is there.
        read: opens a path; raises what a damaged file may raise.
    """

    def found() -> Opened | None:
        for path in folder.glob(f'{name}-*{suffix}'):
            try:
                if not verify or path.name == f'{name}-{checksum(path):08x}{suffix}':
                    return read(path)
            except (OSError, ValueError, KeyError, RuntimeError, pa.ArrowException):
                pass
            path.unlink(missing_ok=True)
        return None

    opened = found()
    if opened is not None:
        return opened
    with lance_errors(folder, writing=True), making(folder):
        opened = found()  # another process has made it meanwhile
        if opened is not None:
            return opened
        temporary = folder / f'.{name}.tmp'
        make(temporary)
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        path = folder / f'{name}-{checksum(temporary):08x}{suffix}'
        os.replace(temporary, path)
        return read(path)


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Be the only one who makes caches, or deletes them. The lock goes with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / LOCK):
        yield


def tidy(folder: Path, names: Collection[str]) -> None:
    """Delete all caches but those of these names, and what a killed process was making."""
    with lance_errors(folder, writing=True), making(folder):
        for path in folder.iterdir():
            if path.name != LOCK and path.name.rpartition('-')[0] not in names:
                path.unlink(missing_ok=True)


class Block:
    """Some videos of a fragment, mapped into memory.

    Args:
        rows: some of the data set.
        codec: reads level 2.
    """

    def __init__(self, rows: pa.RecordBatch, codec: Codec) -> None:
        self.rows = rows
        self.codec = codec
        counts = pc.binary_length(rows['spans']).to_numpy() // 8
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])  # (V + 1,)
        self.spans = _contents(rows['spans']).view('<f4').reshape(-1, 2)  # (N, 2)
        self.moments = _contents(rows['moments']).reshape(-1, codec.bytes_per_row)
        if len(self.moments) != self.starts[-1] or len(self.spans) != self.starts[-1]:
            raise ValueError('moments and spans do not match')

    def prototypes(self, rows: Sequence[int], number: int) -> list[np.ndarray]:
        """Prototypes ``(P, S)`` float32 of each of these videos, P at most ``number``."""
        codes = (self.moments[slice(*self.starts[row : row + 2])] for row in rows)
        return select_prototypes([self.codec.decode(one).numpy() for one in codes], number)


def _contents(column: pa.Array) -> np.ndarray:
    """The bytes of a large binary column, one row after the other."""
    ends = np.frombuffer(column.buffers()[1], np.int64)[column.offset :][: len(column) + 1]
    return np.frombuffer(column.buffers()[2], np.uint8)[ends[0] : ends[-1]]


class Fragment:
    """A fragment of the data set, mapped into memory from its copy.

    Args:
        source: a fragment of the data set.
        folder: where the caches are.
        codec: reads level 2.
        num_prototypes: how many a video has, at most.
        verify: compare checksums.

    Raises:
        IndexDamagedError: a row of the data set does not match its checksum.
    """

    def __init__(
        self, source: LanceFragment, folder: Path, codec: Codec, num_prototypes: int, verify: bool
    ) -> None:
        self.name = Path(source.data_files()[0].path).stem
        self.bytes = sum(file.file_size_bytes or 0 for file in source.data_files())
        self.folder = folder
        self.num_prototypes = num_prototypes

        def read(path: Path) -> list[Block]:
            with pa.memory_map(str(path)) as file:
                reader = pa.ipc.open_file(file)
                count = range(reader.num_record_batches)
                return [Block(reader.get_batch(i), codec) for i in count]

        self.blocks = open_or_make(
            folder, self.name, '.arrow', verify, read, lambda path: _copy(source, path)
        )
        self.bases = np.cumsum([0] + [len(block.rows) for block in self.blocks])
        self.num_videos = int(self.bases[-1])
        # Where the fragment has each of these videos: some were removed before the copy was made.
        self._places = np.concatenate([_places(block.rows) for block in self.blocks])
        self.counts = np.concatenate([np.diff(block.starts) for block in self.blocks])  # moments
        if not self.alive(source).sum() == source.count_rows():
            raise IndexDamagedError(f'{folder} lacks videos of {self.name}; delete that folder')

    def alive(self, source: LanceFragment) -> np.ndarray:
        """``(num_videos,)`` bool: what a version of the fragment still has."""
        if not source.num_deletions:
            return np.ones(self.num_videos, bool)
        with lance_errors(self.name):
            rows = source.scanner(columns=[], with_row_address=True).to_table()
        there = np.zeros(source.physical_rows, bool)
        there[_places(rows)] = True
        return there[self._places]

    @cached_property
    def owners(self) -> np.ndarray:
        """``(P,)`` int32: of which video of the fragment each prototype is."""
        counts = np.minimum(self.counts, self.num_prototypes)
        return np.repeat(np.arange(self.num_videos, dtype=np.int32), counts)

    def prototypes(self) -> Iterator[np.ndarray]:
        """The prototypes ``(P, S)`` float32, some videos at a time."""
        for block in self.blocks:
            for start in range(0, len(block.rows), TOGETHER):
                rows = range(start, min(start + TOGETHER, len(block.rows)))
                yield np.concatenate(block.prototypes(rows, self.num_prototypes))

    def postings(self) -> Postings:
        """The words of its videos."""

        def read(path: Path) -> Postings:
            with pa.memory_map(str(path)) as file:
                return Postings(pa.ipc.open_file(file).get_batch(0), self.num_videos)

        def make(path: Path) -> None:
            columns = (block.rows['metadata'].to_pylist() for block in self.blocks)
            table = Postings.of(texts_of(chain.from_iterable(columns))).table
            with open(path, 'wb') as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_batch(table)

        return self.cached('.stems', True, read, make)

    def sample(self, number: int) -> np.ndarray:
        """So many prototypes ``(P, S)``, or all, in their order; a fixed seed draws them."""
        drawn = np.zeros(len(self.owners), bool)
        drawn[np.random.default_rng(SEED).permutation(len(drawn))[:number]] = True
        parts, done = [], 0
        for part in self.prototypes():
            parts.append(part[drawn[done : done + len(part)]])
            done += len(part)
        return np.concatenate(parts)

    def cached(
        self, suffix: str, verify: bool, read: Callable[[Path], Any], make: Callable[[Path], None]
    ) -> Any:
        """:func:`open_or_make` of another file of this fragment."""
        return open_or_make(self.folder, self.name, suffix, verify, read, make)


def _places(rows: pa.RecordBatch | pa.Table) -> np.ndarray:
    return (rows['_rowaddr'].to_numpy() & 0xFFFFFFFF).astype(np.int64)


def scan(source: LanceFragment) -> Iterator[pa.RecordBatch]:
    """The rows of a fragment, some at a time, each held against its checksum."""
    path = source.data_files()[0].path
    with lance_errors(path):
        for rows in source.scanner(with_row_address=True, batch_size=BLOCK).to_batches():
            if not np.array_equal(row_checks(rows), rows['check'].to_numpy()):
                raise IndexDamagedError(f'a video in {path} does not match its checksum; {MEND}')
            yield rows


def _copy(source: LanceFragment, path: Path) -> None:
    schema = source.scanner(with_row_address=True).projected_schema
    with open(path, 'wb') as file, pa.ipc.new_file(file, schema) as writer:
        for rows in scan(source):
            writer.write_batch(rows)
