"""The truth of an index: a Lance data set with one row a video.

============  ==================================================================================
``id``        unique
``duration``  seconds
``metadata``  a JSON object, null for a video without
``moments``   ``(M, code bytes)`` uint8, as the codec of level 2 writes them
``spans``     ``(M, 2)`` float32 seconds
``check``     CRC-32 of all that: Lance notices damage to the structure of its files, not to the
              numbers in them
============  ==================================================================================

What the index is (backend, options, fingerprints, S) is JSON in the metadata of the schema.
Versions, atomic commits, deletions and compaction are Lance's.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import pyarrow as pa

from demul_mm.files import write_atomically
from demul_mm.index.codecs import Codec
from demul_mm.index.entry import VideoEntry
from demul_mm.index.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexStorageError,
)

if TYPE_CHECKING:
    import lance
    from lance.fragment import LanceFragment

# Forked workers, as of a DataLoader, touch no index.
warnings.filterwarnings('ignore', message='lance is not fork-safe')
FORMAT_VERSION = 2
INFO = b'demul_mm.index'
SCHEMA = pa.schema(
    {
        'id': pa.string(),
        'duration': pa.float32(),
        'metadata': pa.string(),
        'moments': pa.large_binary(),
        'spans': pa.large_binary(),
        'check': pa.uint32(),
    }
)
MEND = 'restore it from a copy, or build the index again'


class Store:
    """Where an index is.

    Args:
        path: its folder, or its address in an object store.

    Attributes:
        videos, pending: addresses of the data set, and of that of a writer that is under way.
        cache: folder on this machine for all that can be made anew.
    """

    def __init__(self, path: str | Path) -> None:
        self.uri = str(path).removeprefix('file://').rstrip('/')
        self.local = '://' not in self.uri
        self.home = Path(self.uri)
        if not self.local:
            caches = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
            name = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
            self.home = caches / 'demul_mm' / 'index' / name
        self.videos, self.pending = f'{self.uri}/videos.lance', f'{self.uri}/pending.lance'
        self.cache = self.home / 'cache'

    def find(self) -> lance.LanceDataset:
        """The newest version of the videos.

        Raises:
            FileNotFoundError: there is no index.
            IndexFormatError: it is damaged, or another program's, or of another format.
        """
        for attempt in range(3):  # a writer may remove the version that was just being opened
            try:
                table = self.videos_if_any()
            except IndexDamagedError:
                if attempt == 2:
                    raise
                continue
            if table is not None:
                return table
        try:
            unfinished = open_table(self.pending) is not None
        except IndexFormatError:
            unfinished = False
        raise FileNotFoundError(
            f'{self.uri} holds no index (videos.lance is not there)'
            + (': its build was not finished; run it again to go on' if unfinished else '')
        )

    def videos_if_any(self) -> lance.LanceDataset | None:
        """The same, None if there is no index."""
        if self.local:
            manifests = Path(self.videos, '_versions').glob('*.manifest')
            newest = min(manifests, default=None)  # versions are counted down in their names
            if newest is not None:
                self.check(newest)
        return open_table(self.videos)

    def check(self, path: Path, verify: bool = True) -> None:
        """Compare a file of the data set with its checksum, which is noted when it is first seen.

        Verified before Lance opens the file: a corrupt length could crash the process.
        """
        name = f'check-{path.stem}'
        with lance_errors(path):
            note = next(self.cache.glob(f'{name}-*'), None)
            if note is not None and not verify and path.exists():
                return
            found = f'{name}-{checksum(path):08x}'
        if note is None:
            with lance_errors(self.cache, writing=True):
                self.cache.mkdir(parents=True, exist_ok=True)
                (self.cache / found).touch()
        elif note.name != found:
            raise IndexDamagedError(f'{path} does not match its checksum; {MEND}')

    def fragments(self, table: lance.LanceDataset, verify: bool) -> list[LanceFragment]:
        """The fragments of a version, whose files are all there and as they were."""
        fragments = table.get_fragments()
        for path in files_of(fragments) if self.local else ():
            self.check(Path(self.videos, path), verify)
        return fragments

    @contextmanager
    def lock(self, operation: str) -> Iterator[None]:
        """Be the only writer on this machine. The lock goes with the process.

        Raises:
            IndexLockedError: somebody else is writing.
        """
        owner = self.home / 'write.owner.json'
        with lance_errors(self.home, writing=True):
            self.home.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.home / 'write.lock', timeout=0)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise IndexLockedError(
                    f'{self.uri} is being written by {_holder(owner)}; wait until it has ended, '
                    'then try again (reading and searching are possible meanwhile)'
                ) from None
        me = dict(pid=os.getpid(), host=socket.gethostname(), operation=operation)
        me['since'] = time.strftime('%Y-%m-%d %H:%M:%S')
        try:
            with lance_errors(self.home, writing=True):
                write_atomically(owner, json.dumps(me))
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()


def _holder(owner: Path) -> str:
    try:
        who = json.loads(owner.read_text())
        return 'process {pid} on {host} ({operation}, since {since})'.format(**who)
    except (OSError, ValueError, KeyError):
        return 'another process'


def files_of(fragments: Sequence[LanceFragment]) -> list[str]:
    """Paths in the data set of all that fragments consist of, by names that are unique."""
    files = [f'data/{file.path}' for fragment in fragments for file in fragment.data_files()]
    return files + [file for fragment in fragments if (file := fragment.deletion_file())]


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    found = 0
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def encode_rows(entries: Sequence[VideoEntry], codec: Codec) -> pa.RecordBatch:
    """Rows of some videos."""
    moments = [np.asarray(entry.moments, np.float32) for entry in entries]
    ends = np.cumsum([len(rows) for rows in moments])
    codes = np.split(codec.encode(np.concatenate(moments)), ends[:-1])
    columns = dict(
        id=[entry.video_id for entry in entries],
        duration=[entry.duration for entry in entries],
        metadata=[
            None if e.metadata is None else json.dumps(e.metadata, ensure_ascii=False)
            for e in entries
        ],
        moments=[rows.tobytes() for rows in codes],
        spans=[np.asarray(entry.spans, '<f4').tobytes() for entry in entries],
    )
    rows = pa.record_batch(columns, schema=pa.schema(list(SCHEMA)[:-1]))
    return rows.append_column('check', pa.array(row_checks(rows), pa.uint32()))


def row_checks(rows: pa.RecordBatch) -> np.ndarray:
    """``(V,)`` uint32: what the column ``check`` should hold."""
    texts = zip(*(rows[name].to_pylist() for name in ('id', 'duration', 'metadata')))
    binaries = zip(rows['moments'], rows['spans'])
    found = [
        zlib.crc32(spans.as_buffer(), zlib.crc32(moments.as_buffer(), zlib.crc32(repr(t).encode())))
        for t, (moments, spans) in zip(texts, binaries)
    ]
    return np.array(found, np.uint32)


def open_table(uri: str) -> lance.LanceDataset | None:
    """The newest version of a data set, None if there is none; IndexFormatError if not of ours."""
    import lance

    with lance_errors(uri):
        try:
            table = lance.dataset(uri)
        except ValueError as error:
            if 'was not found' in str(error):
                return None
            raise
        if INFO not in (table.schema.metadata or {}):
            raise IndexFormatError(f'{uri} does not belong to an index of this package')
        version = read_info(table).get('version')
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f'{uri} is of format version {version}; this demul_mm reads version '
                f'{FORMAT_VERSION}: update demul_mm, or build the index again'
            )
        if table.schema.names != SCHEMA.names:
            raise ValueError(f'its columns are {", ".join(table.schema.names)}')
    return table


def read_info(table: lance.LanceDataset) -> dict[str, Any]:
    """What :func:`write` was given."""
    return json.loads(table.schema.metadata[INFO])


def write(
    rows: pa.RecordBatchReader | pa.Table, uri: str, mode: str, info: dict[str, Any]
) -> lance.LanceDataset:
    """Commit rows of a schema that says ``info``: 'create', 'append', 'overwrite', 'upsert'."""
    import lance

    text = json.dumps(dict(info, version=FORMAT_VERSION))
    rows = rows.cast(SCHEMA.with_metadata({INFO: text}))
    with lance_errors(uri, writing=True):
        if mode != 'upsert':
            return lance.write_dataset(rows, uri, mode=mode)
        table = lance.dataset(uri)
        merge = table.merge_insert('id').when_matched_update_all().when_not_matched_insert_all()
        merge.execute(rows)
        return table


@contextmanager
def lance_errors(where: str | Path, writing: bool = False) -> Iterator[None]:
    """Turn what goes wrong with the data set or the caches at ``where`` into one clear line."""
    try:
        yield
    except (IndexFormatError, IndexStorageError, IndexLockedError):
        raise
    except BaseException as error:
        panic = type(error).__name__ == 'PanicException'  # of Rust; it is no Exception
        if not panic and not isinstance(
            error, OSError | ValueError | RuntimeError | pa.ArrowException
        ):
            raise
        # Lance adds where in its own source the error is from.
        said = str(error).splitlines()[0].split(', /')[0] if str(error) else repr(error)
        if not writing:
            raise IndexDamagedError(f'{where} cannot be read ({said}); {MEND}') from error
        number = getattr(error, 'errno', None)
        if number in (errno.ENOSPC, errno.EDQUOT) or 'No space left' in str(error):
            number, said = errno.ENOSPC, 'the disk is full'
        raise IndexStorageError(
            number,
            f'could not write {where}: {said}. The last good index is untouched; free some space '
            'or mend the cause, then run the same command again: it goes on where it stopped',
        ) from error
