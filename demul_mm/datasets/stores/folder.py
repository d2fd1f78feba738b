"""One file of features for each video."""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from demul_mm.datasets.stores.arrays import SUFFIXES, file_shape, read_file
from demul_mm.datasets.stores.base import FeatureStore, named
from demul_mm.files import file_state, list_by_id
from demul_mm.registry import FEATURE_STORES


@FEATURE_STORES.register_module()
class FolderStore(FeatureStore):
    """A folder with a file for each video, ``<video_id>.npy``, where ids may have slashes.

    Files are .npy, .npz, .safetensors, .pt or .pth. One is opened when its video is asked for and
    closed again; ``.npy`` and ``.safetensors`` are memory-mapped meanwhile.

    Args:
        path: the folder.
        dim, clip_seconds: see :class:`FeatureStore`.
        key: name of the array in files that hold several, see :func:`read_file`.
        name: file name without suffix, made of ``{video_id}`` or ``{stem}`` (the video id without
            its own suffix: ``s13-d21`` for ``s13-d21.avi``).
        take: which of layers and tokens, see :func:`read_file`.
    """

    def __init__(
        self,
        path: str,
        dim: int | None = None,
        clip_seconds: float | None = None,
        key: str | None = None,
        name: str = '{video_id}',
        take: Sequence[int | None] = (),
    ) -> None:
        super().__init__(path, dim=dim, clip_seconds=clip_seconds)
        if not os.path.isdir(path):
            raise FileNotFoundError(
                f'no feature folder {path!r}; give a folder with one of '
                f'{", ".join(SUFFIXES)} for each video'
            )
        self.key = key
        self.name = name
        self.take = tuple(take)

    @cached_property
    def _places(self) -> dict[str, str]:
        """Path in the folder by its stem, in sorted order."""
        return list_by_id(self.path, SUFFIXES)

    def _file(self, video_id: str) -> str:
        return os.path.join(self.path, self._places[named(self.name, video_id)])

    def _nothing(self) -> str:
        names = sorted(os.listdir(self.path))[:3]
        return f'no {", ".join(SUFFIXES)} file; there are {", ".join(names) or "no files"}'

    def shape(self, video_id: str) -> tuple[int, int]:
        self._require(video_id)
        return file_shape(self._file(video_id), self.key, self.take)

    def read(self, video_id: str) -> np.ndarray:
        name = f'features of video {video_id!r}'
        return read_file(self._file(video_id), self.key, name, self.take)

    def state(self, video_id: str) -> str:
        return file_state(self._file(video_id))

    def fingerprint(self) -> str:
        """Hash of the names and sizes of all files and of the content of some."""
        digest = hashlib.sha256()
        files = list(self._places.values())
        for name in files:
            digest.update(f'{name}\0{os.path.getsize(os.path.join(self.path, name))}\n'.encode())
        for name in files[:: max(1, len(files) // 16)]:
            with open(os.path.join(self.path, name), 'rb') as file:
                digest.update(file.read(1 << 16))
        return digest.hexdigest()[:16]
