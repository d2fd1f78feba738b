"""Files of an index: checked writing and reading, the manifest, the writer's lock.

Every file is written under a temporary name with its checksum taken on the way, flushed to the
disk and renamed. A file that a manifest names is never written again, so that whoever opened it
reads on undisturbed; the manifest itself is replaced in one rename, which is the commit.
"""

import errno
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from demul_mm.index.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexStorageError,
)

FORMAT = 'demul_mm.index'
FORMAT_VERSION = 1
MANIFEST = 'manifest.json'
PENDING = 'pending.json'
LOCK = 'write.lock'
OWNER = 'write.owner.json'

# A file as the manifest knows it: path inside the folder, bytes, sha256.
FileInfo = dict[str, Any]


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's write error on ``path`` into one clear line."""
    try:
        yield
    except IndexStorageError:
        raise
    except OSError as error:
        what = 'the disk is full' if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise IndexStorageError(
            error.errno,
            f'could not write {path}: {what}. The last good index is untouched; free some space '
            'or mend the cause, then run the same command again: it goes on where it stopped',
        ) from error


class CheckedFile:
    """A new file, written front to back, its SHA-256 taken on the way.

    Args:
        root: folder of the index.
        name: path of the file inside it.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.path = root / name
        self._temporary = self.path.with_name(self.path.name + '.tmp')
        self._hash = hashlib.sha256()
        self._bytes = 0
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, 'wb')  # noqa: SIM115 - closed in close/discard

    def write(self, data: bytes | memoryview | np.ndarray) -> None:
        """Append bytes, or the raw contents of an array."""
        if isinstance(data, np.ndarray):
            data = memoryview(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
        with storage_errors(self.path):
            self._file.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    def close(self) -> FileInfo:
        """Flush to the disk, take the final name, and say what the manifest must know."""
        with storage_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
        return dict(path=self.name, bytes=self._bytes, sha256=self._hash.hexdigest())

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def write_file(root: Path, name: str, data: bytes | np.ndarray) -> FileInfo:
    """Write a whole file at once; see :class:`CheckedFile`."""
    file = CheckedFile(root, name)
    try:
        file.write(data)
        return file.close()
    except BaseException:
        file.discard()
        raise


def check_file(root: Path, info: FileInfo, verify: bool) -> Path:
    """Path of a file of the manifest, after a look at its size and, if asked, its checksum.

    Raises:
        IndexDamagedError: it is missing, has another size or other contents.
    """
    path = root / info['path']
    remedy = 'restore it from a copy, or build the index again'
    if not path.is_file():
        raise IndexDamagedError(f'{path} is missing; {remedy}')
    size = path.stat().st_size
    if size != info['bytes']:
        raise IndexDamagedError(
            f'{path} has {size} bytes where the manifest says {info["bytes"]}; {remedy}'
        )
    if verify:
        with open(path, 'rb') as file:
            # hashlib.file_digest came with Python 3.11.
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != info['sha256']:
            raise IndexDamagedError(f'{path} does not match its checksum; {remedy}')
    return path


def map_array(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Map a file of raw numbers, read-only."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    # A plain view: every slice of a memmap object costs as much as many reads.
    return np.asarray(np.memmap(path, dtype, 'r', shape=shape))


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(root: Path, name: str, content: dict[str, Any]) -> None:
    """Replace a JSON file in one rename; its checksum goes into it."""
    sealed = dict(content, checksum=_digest(content))
    text = json.dumps(sealed, indent=1, ensure_ascii=False) + '\n'
    write_file(root, name, text.encode())
    with storage_errors(root):
        folder = os.open(root, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must outlive a power cut
        finally:
            os.close(folder)


def read_json(root: Path, name: str) -> dict[str, Any]:
    """Read what :func:`write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        IndexFormatError: it is not of this format, or of a newer version.
        IndexDamagedError: it is no JSON, or its checksum is wrong.
    """
    path = root / name
    try:
        content = json.loads(path.read_bytes().decode())
    except ValueError as error:
        raise IndexDamagedError(
            f'{path} is not readable JSON ({error}); restore it from a copy, or build the index '
            'again'
        ) from error
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise IndexFormatError(f'{path} does not belong to an index of this package')
    if content.get('version') != FORMAT_VERSION:
        raise IndexFormatError(
            f'{path} is of format version {content.get("version")}; this demul_mm reads version '
            f'{FORMAT_VERSION}: update demul_mm, or build the index again'
        )
    checksum = content.pop('checksum', None)
    if checksum != _digest(content):
        raise IndexDamagedError(
            f'{path} does not match its checksum; restore it from a copy, or build the index again'
        )
    return content


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of the index in ``root``; see :func:`read_json`."""
    if not (root / MANIFEST).is_file():
        unfinished = (root / PENDING).is_file()
        raise FileNotFoundError(
            f'{root} holds no index ({MANIFEST} is not there)'
            + (': its build was not finished; run it again to go on' if unfinished else '')
        )
    return read_json(root, MANIFEST)


@contextmanager
def writer_lock(root: Path, operation: str) -> Iterator[None]:
    """Be the only writer of ``root``. The lock goes with the process, however it ends.

    Raises:
        IndexLockedError: somebody else is writing.
    """
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(str(root / LOCK), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise IndexLockedError(
            f'{root} is being written by {_owner(root)}; wait until it has ended, then try again '
            '(reading and searching are possible meanwhile)'
        ) from None
    try:
        owner = dict(
            pid=os.getpid(),
            host=socket.gethostname(),
            operation=operation,
            since=time.strftime('%Y-%m-%d %H:%M:%S'),
        )
        write_file(root, OWNER, json.dumps(owner).encode())
        yield
    finally:
        (root / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(root: Path) -> str:
    try:
        owner = json.loads((root / OWNER).read_text())
        return (
            f'process {owner["pid"]} on {owner["host"]} ({owner["operation"]}, since '
            f'{owner["since"]})'
        )
    except (OSError, ValueError, KeyError):
        return 'another process'
