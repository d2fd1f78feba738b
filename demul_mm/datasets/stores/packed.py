"""All features in one memory-mapped file.

A packed store is a folder of two files::

    data.bin       the rows of all videos, one after the other, fp16 or fp32, little-endian
    manifest.json  {"format": "demul_mm.features", "version": 1, "dtype", "dim", "clip_seconds",
                    "simulated", "provenance": {...}, "fingerprint", "num_videos", "num_rows",
                    "videos": [[video_id, rows, crc32], ...]}   in the order of data.bin

While it is written there is also ``journal.jsonl``, one line for each video that is safely in
``data.bin``. Only the manifest makes videos visible, and it is replaced in one step: readers see
the last finished state, and a writer that was killed goes on from its journal.
"""

import fcntl
import hashlib
import json
import operator
import os
import zlib

import numpy as np

from demul_mm.datasets.stores.arrays import readable
from demul_mm.datasets.stores.base import FeatureStore, check_features
from demul_mm.files import NotText, read_text, write_atomically
from demul_mm.registry import FEATURE_STORES

FORMAT = 'demul_mm.features'
VERSION = 1
DTYPES: dict[str, np.dtype] = {'float16': np.dtype('<f2'), 'float32': np.dtype('<f4')}


@FEATURE_STORES.register_module()
class PackedStore(FeatureStore):
    """The packed form, written by ``tools/data/pack_features.py`` or :class:`PackedWriter`.

    Args:
        path: the folder.
        dim: see :class:`FeatureStore`.
        clip_seconds: see :class:`FeatureStore`; None: as the manifest has it.
    """

    def __init__(
        self, path: str, dim: int | None = None, clip_seconds: float | None = None
    ) -> None:
        manifest = read_manifest(path)
        with readable(f'{path}/manifest.json is damaged'):
            if clip_seconds is None:
                clip_seconds = manifest['clip_seconds']
            super().__init__(path, dim=dim, clip_seconds=clip_seconds)
            self._take(manifest)
        if dim is not None and dim != self._stored_dim:
            raise ValueError(
                f'{path} holds features of dim {self._stored_dim}, the config says dim={dim}; '
                'set dim (and the in_channels of the model) to that of your features'
            )
        self._data: np.memmap | None = None
        expected = int(self._starts[-1]) * self._stored_dim * self._dtype.itemsize
        found = os.path.getsize(self._data_file)
        if found < expected:
            raise ValueError(
                f'{self._data_file} is truncated: {found:,} of {expected:,} bytes; make it again'
            )

    def _take(self, manifest: dict) -> None:
        self.simulated = bool(manifest['simulated'])
        self.provenance: dict = dict(manifest['provenance'])
        self._stored_dim: int = operator.index(manifest['dim'])
        self._dtype = DTYPES[manifest['dtype']]
        self._fingerprint = str(manifest['fingerprint'])
        videos = manifest['videos']
        self._positions = {str(video[0]): position for position, video in enumerate(videos)}
        self._crc32 = np.array([video[2] for video in videos], dtype=np.uint32)
        rows = np.array([video[1] for video in videos], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(rows)])
        if self._stored_dim < 1 or (rows < 1).any():
            raise ValueError('it says that there are no rows or no columns')

    @property
    def _data_file(self) -> str:
        return os.path.join(self.path, 'data.bin')

    @property
    def dim(self) -> int:
        return self._stored_dim

    @property
    def _places(self) -> dict[str, int]:
        return self._positions

    def shape(self, video_id: str) -> tuple[int, int]:
        self._require(video_id)
        position = self._positions[video_id]
        return int(self._starts[position + 1] - self._starts[position]), self._stored_dim

    def state(self, video_id: str) -> str:
        crc32 = self._crc32[self._positions[video_id]]
        return f'{crc32} {self.shape(video_id)} {self._dtype} {self.clip_seconds}'

    def fingerprint(self) -> str:
        return self._fingerprint

    def verify(self, video_id: str) -> bool:
        """Whether the stored bytes still have the checksum they were written with."""
        self._require(video_id)
        stored = self.read(video_id).tobytes()
        return zlib.crc32(stored) == self._crc32[self._positions[video_id]]

    def read(self, video_id: str) -> np.ndarray:
        if self._data is None:
            rows = int(self._starts[-1])
            shape = (rows, self._stored_dim)
            self._data = np.memmap(self._data_file, dtype=self._dtype, mode='r', shape=shape)
        position = self._positions[video_id]
        return np.asarray(self._data[self._starts[position] : self._starts[position + 1]])

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_data': None}  # a memory map would be pickled by value


class PackedWriter:
    """Writes or extends a packed store; use it as a context manager.

    What was added before a crash is kept: open the writer again, skip what it already contains,
    and go on. Videos become visible to readers when the ``with`` block ends without an error.

    Args:
        path: the folder; created when absent. A store that exists already is extended, provided
            that it has the same form and provenance.
        dim: width of the rows.
        dtype: ``'float16'`` or ``'float32'``.
        simulated: whether the features are stand-ins; every result made from them says so.
        provenance: how they were made: tool, options, source.
        clip_seconds: see :class:`FeatureStore`.
    """

    def __init__(
        self,
        path: str,
        dim: int,
        dtype: str = 'float16',
        simulated: bool = False,
        provenance: dict | None = None,
        clip_seconds: float | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'dtype is {dtype!r}; allowed: {", ".join(DTYPES)}')
        self.path = str(path)
        self.dim = dim
        self._dtype = DTYPES[dtype]
        self.header = {
            'format': FORMAT,
            'version': VERSION,
            'dtype': dtype,
            'dim': dim,
            'clip_seconds': clip_seconds,
            'simulated': simulated,
            'provenance': provenance or {},
        }
        os.makedirs(self.path, exist_ok=True)
        self._entries: dict[str, tuple[int, int]] = {}
        self._row_bytes = dim * self._dtype.itemsize
        self._data = open(self._file('data.bin'), 'ab')  # noqa: SIM115
        try:
            fcntl.flock(self._data, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone when the process is
            self._recover()
        except BlockingIOError as error:
            self._data.close()
            raise ValueError(
                f'another process is writing {self.path}; wait for it, or write to another folder'
            ) from error
        except ValueError:
            self._data.close()
            raise

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, video_id: str, features: np.ndarray) -> None:
        """Append the features ``(T, dim)`` of a video.

        Raises:
            ValueError: the video is there already, or the features are empty, of another width,
                or not finite in the stored type.
        """
        if video_id in self._entries:
            raise ValueError(f'video {video_id!r} is in {self.path} already')
        with np.errstate(over='ignore'):
            stored = np.ascontiguousarray(features, dtype=self._dtype)
        problem = check_features(stored, self.dim)
        if problem:
            raise ValueError(f'features of video {video_id!r}: {problem}')
        content = stored.tobytes()
        crc32 = zlib.crc32(content)
        self._data.write(content)
        self._data.flush()  # the data first: the journal must never be ahead of it
        self._journal.write(json.dumps([video_id, len(stored), crc32]) + '\n')
        self._journal.flush()
        self._entries[video_id] = (len(stored), crc32)

    def close(self) -> None:
        """Make what was added visible to readers."""
        os.fsync(self._data.fileno())
        self._data.close()
        self._journal.close()
        videos = [[video_id, *entry] for video_id, entry in self._entries.items()]
        body = json.dumps([{k: self.header[k] for k in ('dtype', 'dim')}, videos])
        manifest = {
            **self.header,
            'fingerprint': hashlib.sha256(body.encode()).hexdigest()[:16],
            'num_videos': len(videos),
            'num_rows': sum(entry[0] for entry in self._entries.values()),
            'videos': videos,
        }
        write_atomically(self._file('manifest.json'), json.dumps(manifest))
        os.remove(self._file('journal.jsonl'))

    def __enter__(self) -> 'PackedWriter':
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._data.close()
            self._journal.close()

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _recover(self) -> None:
        """Take over what earlier writers left, and cut off what they did not complete."""
        if os.path.exists(self._file('manifest.json')):
            manifest = read_manifest(self.path)
            self._check_header(manifest)
            self._entries = {video_id: (rows, crc) for video_id, rows, crc in manifest['videos']}
        lines = self._journal_lines()
        if lines:
            self._check_header(lines[0])
            for video_id, rows, crc32 in lines[1:]:
                self._entries[video_id] = (rows, crc32)
        found = self._data.tell()
        total = sum(rows for rows, _ in self._entries.values()) * self._row_bytes
        if found < total:
            raise ValueError(
                f'{self.path}/data.bin is truncated: {found:,} of {total:,} bytes; '
                'delete the folder and make it again'
            )
        self._data.truncate(total)
        text = ''.join(json.dumps(line) + '\n' for line in lines or [self.header])
        write_atomically(self._file('journal.jsonl'), text)
        self._journal = open(self._file('journal.jsonl'), 'a', encoding='utf-8')  # noqa: SIM115

    def _journal_lines(self) -> list:
        """The complete lines of a journal that was left behind: its header, then the videos."""
        lines = []
        if os.path.exists(self._file('journal.jsonl')):
            with open(self._file('journal.jsonl'), encoding='utf-8') as file:
                for line in file:
                    if not line.endswith('\n'):
                        break  # torn by a crash; its video is written again
                    lines.append(json.loads(line))
        return lines

    def _check_header(self, other: dict) -> None:
        for key, value in json.loads(json.dumps(self.header)).items():
            if other.get(key) != value:
                raise ValueError(
                    f'{self.path} was begun with {key}={other.get(key)!r}, now {key}={value!r}; '
                    'use the same options, another folder, or delete this one'
                )


def read_manifest(path: str) -> dict:
    """The manifest of a packed store.

    Raises:
        FileNotFoundError: there is none, or the store was not finished.
        ValueError: it is not one of ours, or of a newer version.
    """
    file = os.path.join(path, 'manifest.json')
    if not os.path.isfile(file):
        if os.path.isfile(os.path.join(path, 'journal.jsonl')):
            raise FileNotFoundError(
                f'the packed features in {path!r} are not finished; '
                'run the command that makes them again, it goes on where it stopped'
            )
        raise FileNotFoundError(
            f'no packed features in {path!r} (no manifest.json); make them with '
            'tools/data/pack_features.py, or without any data with tools/data/simulate_features.py'
        )
    try:
        manifest = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError, NotText) as error:
        raise ValueError(f'{file} is damaged ({error}); make the features again') from error
    if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
        raise ValueError(f'{file} is not the manifest of packed features ({FORMAT})')
    if not isinstance(manifest.get('version'), int):
        raise ValueError(f'{file} is damaged: it has no version; make the features again')
    if manifest['version'] > VERSION:
        raise ValueError(
            f'{file} is of version {manifest["version"]}, this demul_mm reads up to {VERSION}; '
            'update demul_mm'
        )
    return manifest
