"""All features in one HDF5 file."""

import functools
import hashlib
import os
import re
from contextlib import AbstractContextManager

import h5py
import numpy as np

from demul_mm.datasets.stores.arrays import readable
from demul_mm.datasets.stores.base import KEYS, FeatureStore, as_rows, named, rows_shape
from demul_mm.registry import FEATURE_STORES

BARE = ('{video_id}', '{stem}')


@FEATURE_STORES.register_module()
class HDF5Store(FeatureStore):
    """An HDF5 file with one array for each video, flat or in groups; ids may have slashes.

    The file is opened by each process for itself when it is first needed, since an HDF5 handle
    does not survive a fork.

    Args:
        path: the file.
        dim, clip_seconds: see :class:`FeatureStore`.
        key: path of a video's array, made of ``{video_id}`` or ``{stem}`` (the video id without
            its own suffix): ``'{video_id}/c3d_features'`` for the C3D features of ActivityNet.
            A group at that path stands for the array ``features``, ``feats`` or ``arr_0`` in it.
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
        self._listing: tuple[dict[str, str], set[str]] | None = None

    @property
    def _file(self) -> h5py.File:
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), h5py.File(self.path, 'r'))
        return self._handle[1]

    @property
    def _places(self) -> dict[str, str]:
        """Of the arrays whose path has the form of ``key``, by id (with ``{stem}`` no suffix)."""
        return self._listed()[0]

    def _listed(self) -> tuple[dict[str, str], set[str]]:
        """Places of the arrays by id, and the names of all groups."""
        if self._listing is None:
            form, places, groups = _form(self.key), {}, set()

            def visit(name: str, node: object) -> None:
                if not isinstance(node, h5py.Dataset):
                    groups.add(name)
                elif match := form.fullmatch(_owner(name) if self.key in BARE else name):
                    places[match['id']] = name

            # With a handle of its own: workers that are forked later must not inherit one.
            with readable(f'{self.path} cannot be read'), h5py.File(self.path, 'r') as file:
                file.visititems(visit)
            self._listing = dict(sorted(places.items())), groups
        return self._listing

    def _place(self, video_id: str) -> str:
        return named(self.key, video_id)

    def __contains__(self, video_id: object) -> bool:
        """Also true of a group without such an array: ``load`` says what is there instead."""
        if not isinstance(video_id, str):
            return False
        match = _form(self.key).fullmatch(self._place(video_id))
        known = match is not None and match['id'] in self._places
        return known or self._place(video_id) in self._listed()[1]

    def shape(self, video_id: str) -> tuple[int, int]:
        with self._readable(video_id):
            return rows_shape(self._array(video_id).shape)

    def read(self, video_id: str) -> np.ndarray:
        with self._readable(video_id):
            return as_rows(self._array(video_id)[()])

    def _readable(self, video_id: str) -> AbstractContextManager[None]:
        self._require(video_id)
        return readable(f'features of video {video_id!r} in {self.path}')

    def _array(self, video_id: str) -> h5py.Dataset:
        place = self._place(video_id)
        match = _form(self.key).fullmatch(place)
        array = self._file.get(self._places.get(match['id'], place) if match else place)
        if not isinstance(array, h5py.Dataset):
            inside = list(array) if array is not None else 'nothing'
            raise ValueError(
                f'{place!r} is not an array (there: {inside}); set key= of the store, as '
                "'{video_id}/c3d_features'"
            )
        return array

    def fingerprint(self) -> str:
        """Hash of the size of the file, the names in it, and samples of its bytes."""
        size = os.path.getsize(self.path)
        digest = hashlib.sha256(f'{size}\n{list(self._places)}'.encode())
        with open(self.path, 'rb') as file:
            for part in range(16):
                file.seek(size * part // 16)
                digest.update(file.read(1 << 16))
        return digest.hexdigest()[:16]

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handle': None}


@functools.lru_cache
def _form(key: str) -> re.Pattern[str]:
    """What the paths look like that a key describes."""
    first, *rest = re.split(r'\{video_id\}|\{stem\}', key)
    again = ''.join(f'(?P=id){re.escape(part)}' for part in rest[1:])
    return re.compile(f'{re.escape(first)}(?P<id>.+){re.escape(rest[0])}{again}', re.DOTALL)


def _owner(name: str) -> str:
    """The group whose array it is, if it has a name that arrays are published under."""
    group, _, last = name.rpartition('/')
    return group if group and last in KEYS else name
