"""The array in a file of features, as people publish them."""

import io
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from demul_mm.datasets.stores.base import KEYS, as_rows, rows_shape

SUFFIXES = ('.npy', '.npz', '.safetensors', '.pt', '.pth')

NPY = b'\x93NUMPY'
# How a file begins that is something else than its name says.
OTHERS = {b'\x89HDF': 'an HDF5 file: give it to HDF5Store', b'version ': 'a pointer of Git LFS'}


def read_file(
    file: str | os.PathLike,
    key: str | None = None,
    name: str = 'features',
    take: Sequence[int | None] = (),
) -> np.ndarray:
    """The array in a file of features, as it is, but for further axes.

    Args:
        file: one of :data:`SUFFIXES`; what it is is told by its content.
        key: name of the array in a file that holds several; None: the only one, or the one that is
            called ``features``, ``feats``, ``feature`` or ``arr_0``.
        name: what it is, for messages.
        take: index on each axis between the first and the last, as the layers and tokens of ``(T,
            k, P, C)``: the index to take, or None for the mean. Axes of length 1 need none.

    Raises:
        ValueError: it cannot be read. Nothing is ever unpickled.
    """
    with readable(f'{name} cannot be read from {file}'):
        return as_rows(_reduced(_array(str(file), key), take))


def file_shape(
    file: str, key: str | None = None, take: Sequence[int | None] = ()
) -> tuple[int, int]:
    """The shape of what :func:`read_file` gives, without reading the values where that can be."""
    with readable(f'{file} cannot be read'):
        start = _start(file)
        if _is_npz(file, start):
            return _rows_shape(_npz_shape(file, _npz_key(file, key)), take)
        if _suffix(file) == '.safetensors':
            with safe_open(file, framework='np') as tensors:
                name = _choose(list(tensors.keys()), file, key)
                return _rows_shape(tuple(tensors.get_slice(name).get_shape()), take)
        return _rows_shape(_array(file, key).shape, take)


def unpack(content: bytes, key: str | None = None) -> np.ndarray:
    """The array in the bytes of an .npy or .npz file, as it is.

    Raises:
        ValueError: they are something else. Nothing is ever unpickled.
    """
    if not content.startswith((b'PK', NPY)):
        raise ValueError(
            f'{len(content):,} bytes that are no .npy or .npz file; of bare numbers say dtype= and '
            'dim=, anything else is not read'
        )
    found = np.load(io.BytesIO(content), allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    return found[_choose(found.files, 'it', key)]


@contextmanager
def readable(message: str) -> Iterator[None]:
    """Turn whatever a damaged file leads its reader to raise into a ValueError of one line."""
    try:
        yield
    except Exception as error:
        why = (str(error) or type(error).__name__).split('\n', 1)[0]
        if isinstance(error, pickle.UnpicklingError):
            why = 'it holds pickled objects, which could run code; save its array with numpy.save'
        raise ValueError(f'{message}: {why}') from error


def _array(file: str, key: str | None) -> np.ndarray:
    start = _start(file)
    for magic, what in OTHERS.items():
        if start.startswith(magic):
            raise ValueError(f'it is {what}')
    if _suffix(file) == '.safetensors':
        with safe_open(file, framework='np') as tensors:
            return tensors.get_tensor(_choose(list(tensors.keys()), file, key))
    if start.startswith(NPY):
        return np.load(file, mmap_mode='r', allow_pickle=False)
    if _is_npz(file, start):
        with np.load(file, allow_pickle=False) as arrays:
            return arrays[_npz_key(file, key)]
    if _suffix(file) in ('.pt', '.pth'):
        return _of_torch(torch.load(file, map_location='cpu', weights_only=True), file, key)
    raise ValueError(f'{os.path.getsize(file):,} bytes that are no {_suffix(file)} file')


def _of_torch(content: Any, file: str, key: str | None) -> np.ndarray:
    if isinstance(content, Mapping):
        content = content[_choose([str(name) for name in content], file, key)]
    if not isinstance(content, torch.Tensor):
        raise ValueError(f'it holds a {type(content).__name__}, no tensor')
    content = content.detach()
    return (content.float() if content.is_floating_point() else content).numpy()


def _reduced(array: np.ndarray, take: Sequence[int | None]) -> np.ndarray:
    if not take:
        return array
    if array.ndim != len(take) + 2:
        raise ValueError(f'shape {array.shape} has no {len(take)} axes to take={list(take)} from')
    for index in take:
        array = array.mean(1) if index is None else array[:, index]
    return array


def _rows_shape(shape: tuple[int, ...], take: Sequence[int | None]) -> tuple[int, int]:
    kept = [0 if index is None else index for index in take]
    return rows_shape(_reduced(np.broadcast_to(np.float32(0), shape), kept).shape)


def _start(file: str) -> bytes:
    with open(file, 'rb') as stream:
        return stream.read(8)


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _is_npz(file: str, start: bytes) -> bool:
    """An archive of arrays; files of torch are archives of something else."""
    return start.startswith(b'PK') and _suffix(file) not in ('.pt', '.pth')


def _npz_key(file: str, key: str | None) -> str:
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix('.npy') for name in archive.namelist()]
    return _choose(names, file, key)


def _choose(keys: list[str], file: str, key: str | None) -> str:
    if key is not None and key in keys:
        return key
    known = [name for name in keys if name in KEYS]
    if key is None and len(keys) == 1:
        return keys[0]
    if key is None and len(known) == 1:
        return known[0]
    raise ValueError(f'{file} holds the arrays {keys}; set key= of the store to one of them')


def _npz_shape(file: str, key: str) -> tuple[int, ...]:
    """Shape from the header of one array of an archive."""
    with zipfile.ZipFile(file) as archive, archive.open(f'{key}.npy') as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        return read(stream)[0]
