"""All features in one HDF5 file."""

import bisect
import hashlib
import os
from collections.abc import Iterator

import h5py
import numpy as np

from demul_mm.datasets.stores.base import FeatureStore, as_rows, rows_shape
from demul_mm.registry import FEATURE_STORES


@FEATURE_STORES.register_module()
class HDF5Store(FeatureStore):
    """An HDF5 file with one data set, or one group, for each video.

    The file is opened by each process for itself when it is first needed, since an HDF5 handle
    does not survive a fork.

    Args:
        path: the file.
        dim: see :class:`FeatureStore`.
        clip_seconds: see :class:`FeatureStore`.
        key: path of a video's array, made of ``{video_id}`` or ``{stem}`` (the video id without
            its own suffix): ``'{video_id}/c3d_features'`` for the C3D features of ActivityNet.
    """

    def __init__(
        self,
        path: str,
        dim: int | None = None,
        clip_seconds: float | None = None,
        key: str = '{video_id}',
    ) -> None:
        super().__init__(path, dim=dim, clip_seconds=clip_seconds)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'no feature file {path!r}; give an HDF5 file')
        if not h5py.is_hdf5(path):
            raise ValueError(f'{path} is not an HDF5 file, or a truncated one; download it again')
        self.key = key
        self._handle: tuple[int, h5py.File] | None = None
        self._listing: list[str] | None = None

    @property
    def _file(self) -> h5py.File:
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), h5py.File(self.path, 'r'))
        return self._handle[1]

    @property
    def _names(self) -> list[str]:
        if self._listing is None:
            # With a handle of its own: workers that are forked later must not inherit one.
            with h5py.File(self.path, 'r') as file:
                self._listing = sorted(file)
        return self._listing

    def _place(self, video_id: str) -> str:
        return self.key.format(video_id=video_id, stem=os.path.splitext(video_id)[0])

    def ids(self) -> Iterator[str]:
        """Names at the top of the file (the video ids, unless ``key`` changes them)."""
        return iter(self._names)

    def __contains__(self, video_id: object) -> bool:
        if not isinstance(video_id, str):
            return False
        top = self._place(video_id).split('/')[0]
        index = bisect.bisect_left(self._names, top)
        return index < len(self._names) and self._names[index] == top

    def __len__(self) -> int:
        return len(self._names)

    def shape(self, video_id: str) -> tuple[int, int]:
        return rows_shape(self._array(video_id).shape)

    def read(self, video_id: str) -> np.ndarray:
        return as_rows(self._array(video_id)[()])

    def _array(self, video_id: str) -> h5py.Dataset:
        self._require(video_id)
        place = self._place(video_id)
        array = self._file.get(place)
        if not isinstance(array, h5py.Dataset):
            inside = list(self._file[place]) if array is not None else 'nothing'
            raise ValueError(
                f'features of video {video_id!r} in {self.path}: {place!r} is not an array '
                f"(there: {inside}); set key= of the store, as '{{video_id}}/c3d_features'"
            )
        return array

    def fingerprint(self) -> str:
        """Hash of the size of the file, the names in it, and samples of its bytes."""
        size = os.path.getsize(self.path)
        digest = hashlib.sha256(f'{size}\n{self._names}'.encode())
        with open(self.path, 'rb') as file:
            for part in range(16):
                file.seek(size * part // 16)
                digest.update(file.read(1 << 16))
        return digest.hexdigest()[:16]

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handle': None}
