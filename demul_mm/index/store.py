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

import errno
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import lance
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
LOCK, OWNER = 'write.lock', 'write.owner.json'


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
    return rows.append_column('check', pa.array(checks(rows), pa.uint32()))


def checks(rows: pa.RecordBatch) -> np.ndarray:
    """``(V,)`` uint32: what the column ``check`` should hold."""
    texts = zip(*(rows[name].to_pylist() for name in ('id', 'duration', 'metadata')))
    binaries = zip(rows['moments'], rows['spans'])
    found = [
        zlib.crc32(spans.as_buffer(), zlib.crc32(moments.as_buffer(), zlib.crc32(repr(t).encode())))
        for t, (moments, spans) in zip(texts, binaries)
    ]
    return np.array(found, np.uint32)


def open_table(uri: str) -> lance.LanceDataset | None:
    """The newest version of the data set at ``uri``, None if there is none.

    Raises:
        IndexFormatError: it is another program's, of another format, or damaged.
    """
    with lance_errors(uri):
        try:
            table = lance.dataset(uri)
        except ValueError as error:
            if 'was not found' in str(error):
                return None
            raise
        schema = table.schema
        if INFO not in (schema.metadata or {}):
            raise IndexFormatError(f'{uri} does not belong to an index of this package')
        version = read_info(table).get('version')
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f'{uri} is of format version {version}; this demul_mm reads version '
                f'{FORMAT_VERSION}: update demul_mm, or build the index again'
            )
        if schema.names != SCHEMA.names:
            raise ValueError(f'its columns are {", ".join(schema.names)}')
    return table


def read_info(table: lance.LanceDataset) -> dict[str, Any]:
    """What :func:`write` was given; ValueError if it is damaged."""
    info = json.loads(table.schema.metadata[INFO])
    if info.pop('check', None) != _text(info)[0]:
        raise IndexDamagedError(
            f'what {table.uri} says of itself does not match its checksum; restore it from a copy, '
            'or build the index again'
        )
    return info


def _text(info: dict[str, Any]) -> tuple[int, str]:
    check = zlib.crc32(json.dumps(info, sort_keys=True).encode())
    return check, json.dumps(dict(info, check=check))


def write(
    rows: pa.RecordBatchReader | pa.Table, uri: str, mode: str, info: dict[str, Any]
) -> lance.LanceDataset:
    """Commit rows of a schema that says ``info``: 'create', 'append', 'overwrite', 'upsert'."""
    text = _text(dict(info, version=FORMAT_VERSION))[1]
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
            raise IndexDamagedError(
                f'{where} cannot be read ({said}); restore it from a copy, or build the index again'
            ) from error
        number = getattr(error, 'errno', None)
        if number in (errno.ENOSPC, errno.EDQUOT) or 'No space left' in str(error):
            said = 'the disk is full'
        raise IndexStorageError(
            number,
            f'could not write {where}: {said}. The last good index is untouched; free some space '
            'or mend the cause, then run the same command again: it goes on where it stopped',
        ) from error


@contextmanager
def writer_lock(root: Path, operation: str) -> Iterator[None]:
    """Be the only writer of ``root`` on this machine. The lock goes with the process.

    Raises:
        IndexLockedError: somebody else is writing.
    """
    with lance_errors(root, writing=True):
        root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(root / LOCK), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        try:
            holder = 'process {pid} on {host} ({operation}, since {since})'.format(
                **json.loads((root / OWNER).read_text())
            )
        except (OSError, ValueError, KeyError):
            holder = 'another process'
        raise IndexLockedError(
            f'{root} is being written by {holder}; wait until it has ended, then try again '
            '(reading and searching are possible meanwhile)'
        ) from None
    try:
        owner = dict(
            pid=os.getpid(),
            host=socket.gethostname(),
            operation=operation,
            since=time.strftime('%Y-%m-%d %H:%M:%S'),
        )
        with lance_errors(root, writing=True):
            write_atomically(root / OWNER, json.dumps(owner))
        yield
    finally:
        (root / OWNER).unlink(missing_ok=True)
        lock.release()
