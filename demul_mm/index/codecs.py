"""How the vectors of an index are kept: a row of bytes each.

All codecs share three functions: ``encode`` (float rows to bytes), ``decode`` (back) and ``scores``
(inner products of decoded rows with a query, without keeping the decoded rows).
"""

import numpy as np
import torch
from torch import Tensor


def as_tensor(codes: np.ndarray) -> Tensor:
    """A tensor over the memory of ``codes``, or over a copy where that is read-only."""
    return torch.from_numpy(codes if codes.flags.writeable else codes.copy())


class Int8Codec:
    """One signed byte per dimension and a float32 scale per vector.

    The largest magnitude of a vector is 127 steps, so no component is off by more than half a step
    and an inner product with a unit query by no more than ``scale / 2 * sqrt(dim)``.

    Args:
        dim: S, of the vectors.
    """

    name = 'int8'

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.bytes_per_row = dim + 4

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """``(N, S)`` float32 to ``(N, S + 4)`` uint8."""
        scale = np.abs(vectors).max(1, initial=0).astype(np.float32) / 127  # (N,)
        steps = np.rint(vectors / np.maximum(scale, np.finfo(np.float32).tiny)[:, None])
        codes = np.empty((len(vectors), self.bytes_per_row), np.uint8)
        codes[:, : self.dim] = steps.astype(np.int8).view(np.uint8)
        codes[:, self.dim :] = scale[:, None].view(np.uint8)
        return codes

    def _parts(self, codes: np.ndarray) -> tuple[Tensor, Tensor]:
        both = as_tensor(codes)
        steps = both[:, : self.dim].view(torch.int8).to(torch.float32)  # (N, S)
        scale = both[:, self.dim :].contiguous().view(torch.float32)  # (N, 1)
        return steps, scale

    def decode(self, codes: np.ndarray) -> Tensor:
        """``(N, bytes_per_row)`` uint8 to ``(N, S)`` float32."""
        steps, scale = self._parts(codes)
        return steps.mul_(scale)

    def scores(self, codes: np.ndarray, queries: Tensor) -> Tensor:
        """Inner products of ``N`` rows with ``queries (Q, S)``: ``(N, Q)`` float32."""
        steps, scale = self._parts(codes)
        return (steps @ queries.T).mul_(scale)


class HalfCodec:
    """Half precision, two bytes per dimension.

    Args:
        dim: S, of the vectors.
    """

    name = 'fp16'

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.bytes_per_row = 2 * dim

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """``(N, S)`` float32 to ``(N, 2 S)`` uint8."""
        return np.ascontiguousarray(vectors, np.float32).astype(np.float16).view(np.uint8)

    def decode(self, codes: np.ndarray) -> Tensor:
        """``(N, bytes_per_row)`` uint8 to ``(N, S)`` float32."""
        return as_tensor(codes).view(torch.float16).to(torch.float32)

    def scores(self, codes: np.ndarray, queries: Tensor) -> Tensor:
        """Inner products of ``N`` rows with ``queries (Q, S)``: ``(N, Q)`` float32."""
        return self.decode(codes) @ queries.T


Codec = Int8Codec | HalfCodec
CODECS: dict[str, type[Int8Codec] | type[HalfCodec]] = {
    codec.name: codec for codec in (Int8Codec, HalfCodec)
}


def make_codec(name: str, dim: int) -> Codec:
    """The codec of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in CODECS:
        raise ValueError(f'level2 is {name!r}; it must be one of {sorted(CODECS)}')
    return CODECS[name](dim)
