"""All features in one LMDB environment."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from demul_mm.datasets.stores.arrays import readable, unpack
from demul_mm.datasets.stores.base import FeatureStore, as_rows, named, rows_shape
from demul_mm.files import file_state
from demul_mm.registry import FEATURE_STORES

# A process may open an environment once at a time.
OPENING = threading.Lock()
# Names all keys, a line of hexadecimal digits each, and touches both ends of all values.
WALK = """
import lmdb, os, sys
file = sys.argv[1]
with lmdb.open(file, subdir=False, readonly=True, lock=False, readahead=False) as environment:
    whole = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    # Beyond the end of the file, the memory that maps it cannot be read: a crash.
    if os.path.getsize(file) < whole:
        sys.exit(f'{os.path.getsize(file):,} of {whole:,} bytes')
    with environment.begin(buffers=True) as transaction:
        for key, value in transaction.cursor():
            value[:1].tobytes(), value[-1:].tobytes()
            print(key.hex())
"""
WALK_SECONDS = 600


@FEATURE_STORES.register_module()
class LMDBStore(FeatureStore):
    """An LMDB environment with one value for each video: the bytes of an array.

    A value is an ``.npz`` or ``.npy`` file, told by its content, or bare numbers of one type. The
    environment is opened for each access, since it survives neither a fork nor a second opening.
    LMDB has no checksums, and may end the process that reads a damaged file: so all of it is walked
    through once, in a process of its own.

    Args:
        path: the folder that holds ``data.mdb``, or such a file itself.
        dim, clip_seconds: see :class:`FeatureStore`.
        key: the array in a value that is an .npz of several arrays, see :func:`read_file`.
        name: the key of a video in the environment, made of ``{video_id}`` or ``{stem}`` (the
            video id without its own suffix).
        dtype: type of values that are bare numbers, ``dim`` of them in a row, as ``'float32'``;
            None where they are files.
    """

    def __init__(
        self,
        path: str,
        dim: int | None = None,
        clip_seconds: float | None = None,
        key: str | None = None,
        name: str = '{video_id}',
        dtype: str | None = None,
    ) -> None:
        super().__init__(path, dim=dim, clip_seconds=clip_seconds)
        _lmdb()
        if not os.path.isfile(self._file):
            raise FileNotFoundError(
                f'no LMDB environment {path!r}; give the folder that holds data.mdb, or the file'
            )
        if dtype is not None and (dim is None or np.dtype(dtype).kind not in 'fiu'):
            raise ValueError(
                f'dtype={dtype!r}, dim={dim}: of bare numbers give a numeric type, and how many '
                'are a row'
            )
        self.key = key
        self.name = name
        self.dtype = dtype

    @property
    def _file(self) -> str:
        return os.path.join(self.path, 'data.mdb') if os.path.isdir(self.path) else self.path

    @cached_property
    def _places(self) -> dict[str, None]:
        """The keys in the environment, in its order."""
        with readable(f'{self.path} cannot be read'):
            command = [sys.executable, '-c', WALK, self._file]
            done = subprocess.run(command, capture_output=True, text=True, timeout=WALK_SECONDS)
            if done.returncode:
                why = done.stderr.strip().rpartition('\n')[2] or 'reading it ends the process'
                raise ValueError(f'it is damaged, {why}; download or copy it again')
            keys = [bytes.fromhex(line) for line in done.stdout.split()]
            # What begins so lists the others, and is no video.
            return {key.decode(): None for key in keys if not key.startswith(b'__')}

    def shape(self, video_id: str) -> tuple[int, int]:
        return rows_shape(self.read(video_id).shape)

    def read(self, video_id: str) -> np.ndarray:
        self._require(video_id)
        with readable(f'features of video {video_id!r} cannot be read from {self.path}'):
            with self._opened() as transaction:
                content = transaction.get(named(self.name, video_id).encode())
            if self.dtype is None:
                return as_rows(unpack(content, self.key))
            return np.frombuffer(content, self.dtype).reshape(-1, self.dim)

    def state(self, video_id: str) -> str:
        return file_state(self._file)

    def fingerprint(self) -> str:
        """Hash of the keys, and of the values of some."""
        digest = hashlib.sha256(repr(list(self._places)).encode())
        with self._opened() as transaction:
            for key in list(self._places)[:: max(1, len(self) // 16)]:
                digest.update(transaction.get(key.encode())[: 1 << 16])
        return digest.hexdigest()[:16]

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        options = dict(readonly=True, lock=False, readahead=False)
        with (
            OPENING,
            _lmdb().open(self._file, subdir=False, **options) as environment,
            environment.begin() as transaction,
        ):
            yield transaction


def _lmdb() -> ModuleType:
    try:
        import lmdb
    except ImportError as error:
        raise ImportError("LMDBStore needs lmdb: pip install 'demul-mm[lmdb]'") from error
    return lmdb
