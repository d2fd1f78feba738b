"""One file of features for each video."""

import hashlib
import os
import zipfile
from collections.abc import Iterator

import numpy as np
from safetensors import SafetensorError, safe_open

from demul_mm.datasets.stores.base import FeatureStore, as_rows, rows_shape
from demul_mm.files import list_by_id
from demul_mm.registry import FEATURE_STORES

SUFFIXES = ('.npy', '.npz', '.safetensors')


@FEATURE_STORES.register_module()
class FolderStore(FeatureStore):
    """A folder with ``<video_id>.npy``, ``.npz`` or ``.safetensors``, where ids may have slashes.

    A file is opened when its video is asked for and closed again; ``.npy`` and ``.safetensors``
    are memory-mapped meanwhile.

    Args:
        path: the folder.
        dim: see :class:`FeatureStore`.
        clip_seconds: see :class:`FeatureStore`.
        key: name of the array in ``.npz`` and ``.safetensors`` files; None: their only one.
        name: file name without suffix, made of ``{video_id}`` or ``{stem}`` (the video id without
            its own suffix: ``s13-d21`` for ``s13-d21.avi``).
    """

    def __init__(
        self,
        path: str,
        dim: int | None = None,
        clip_seconds: float | None = None,
        key: str | None = None,
        name: str = '{video_id}',
    ) -> None:
        super().__init__(path, dim=dim, clip_seconds=clip_seconds)
        if not os.path.isdir(path):
            raise FileNotFoundError(
                f'no feature folder {path!r}; give a folder with one of '
                f'{", ".join(SUFFIXES)} for each video'
            )
        self.key = key
        self.name = name
        self._listing: dict[str, str] | None = None

    @property
    def _files(self) -> dict[str, str]:
        """Path in the folder by its stem, in sorted order; listed once."""
        if self._listing is None:
            self._listing = list_by_id(self.path, SUFFIXES)
        return self._listing

    def _stem(self, video_id: str) -> str:
        return self.name.format(video_id=video_id, stem=os.path.splitext(video_id)[0])

    def _file(self, video_id: str) -> str:
        return os.path.join(self.path, self._files[self._stem(video_id)])

    def ids(self) -> Iterator[str]:
        """Stems of the files (the video ids, unless ``name`` changes them)."""
        return iter(self._files)

    def __contains__(self, video_id: object) -> bool:
        return isinstance(video_id, str) and self._stem(video_id) in self._files

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, video_id: str) -> tuple[int, int]:
        self._require(video_id)
        file = self._file(video_id)
        if _suffix(file) == '.npz':
            return rows_shape(_npz_shape(file, _npz_key(file, self.key)))
        if _suffix(file) == '.safetensors':
            with safe_open(file, framework='np') as tensors:
                name = _choose(list(tensors.keys()), file, self.key)
                return rows_shape(tuple(tensors.get_slice(name).get_shape()))
        return rows_shape(np.load(file, mmap_mode='r', allow_pickle=False).shape)

    def read(self, video_id: str) -> np.ndarray:
        name = f'features of video {video_id!r}'
        return read_file(self._file(video_id), self.key, name)

    def fingerprint(self) -> str:
        """Hash of the names and sizes of all files and of the content of some."""
        digest = hashlib.sha256()
        files = list(self._files.values())
        for name in files:
            digest.update(f'{name}\0{os.path.getsize(os.path.join(self.path, name))}\n'.encode())
        for name in files[:: max(1, len(files) // 16)]:
            with open(os.path.join(self.path, name), 'rb') as file:
                digest.update(file.read(1 << 16))
        return digest.hexdigest()[:16]


def read_file(
    file: str | os.PathLike, key: str | None = None, name: str = 'features'
) -> np.ndarray:
    """The array in a file of features, as it is, but for further axes of length 1.

    Args:
        file: ``.npy``, ``.npz`` or ``.safetensors``.
        key: of the array in one of the latter two; None: their only one.
        name: what it is, for messages.

    Raises:
        ValueError: it cannot be read.
    """
    file = str(file)
    try:
        if _suffix(file) == '.npz':
            with np.load(file, allow_pickle=False) as arrays:
                return as_rows(arrays[_npz_key(file, key)])
        if _suffix(file) == '.safetensors':
            with safe_open(file, framework='np') as tensors:
                return as_rows(tensors.get_tensor(_choose(list(tensors.keys()), file, key)))
        return as_rows(np.load(file, mmap_mode='r', allow_pickle=False))
    except (OSError, EOFError, zipfile.BadZipFile, SafetensorError, ValueError) as error:
        raise ValueError(f'{name} cannot be read from {file}: {error}') from error


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _npz_key(file: str, key: str | None) -> str:
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix('.npy') for name in archive.namelist()]
    return _choose(names, file, key)


def _choose(keys: list[str], file: str, key: str | None) -> str:
    if key is not None and key in keys:
        return key
    if key is None and len(keys) == 1:
        return keys[0]
    raise ValueError(f'{file} holds the arrays {keys}; set key= of the store to one of them')


def _npz_shape(file: str, key: str) -> tuple[int, ...]:
    """Shape from the header of one array of an archive."""
    with zipfile.ZipFile(file) as archive, archive.open(f'{key}.npy') as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        return read(stream)[0]
