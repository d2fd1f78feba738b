"""How the moments of an index are kept: a row of bytes each.

All codecs share three functions: ``encode`` (float rows to bytes), ``decode`` (back) and ``scores``
(inner products of decoded rows with queries, without keeping the decoded rows).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

# Rows that are decoded at once for scoring: what stays in the cache is scored fastest.
SCORED_ROWS = 2048
# Fine steps in a coarse one, of queries in whole numbers.
FINE = 254


def import_faiss() -> Any:
    """The module, untyped (its own hints are wrong), or how to get it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'FaissIndex and product quantisation need faiss: pip install '
            "'demul-mm[index]', or use ExactIndex with level2 int8 or fp16"
        ) from error
    return faiss


def as_tensor(codes: np.ndarray) -> Tensor:
    """A tensor over the memory of ``codes``, or over a copy where that is read-only."""
    return torch.from_numpy(codes if codes.flags.writeable else codes.copy())


class HalfCodec:
    """Half precision, two bytes per dimension.

    Args:
        dim: S, of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.bytes_per_row = 2 * dim

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """``(N, S)`` float32 to ``(N, bytes_per_row)`` uint8."""
        return np.ascontiguousarray(vectors, np.float32).astype(np.float16).view(np.uint8)

    def decode(self, codes: np.ndarray) -> Tensor:
        """``(N, bytes_per_row)`` uint8 to ``(N, S)`` float32."""
        return as_tensor(codes).view(torch.float16).to(torch.float32)

    def scores(self, codes: np.ndarray, queries: Tensor) -> Tensor:
        """Inner products of ``N`` rows with ``queries (Q, S)``: ``(N, Q)`` float32."""
        scores = torch.empty(len(codes), len(queries))
        for start in range(0, len(codes), SCORED_ROWS):
            part = slice(start, start + SCORED_ROWS)
            torch.matmul(self.decode(codes[part]), queries.T, out=scores[part])
        return scores


class Int8Codec(HalfCodec):
    """One signed byte per dimension and a float32 scale per vector.

    The largest magnitude of a vector is 127 steps, so no component is off by more than half a step
    and an inner product with a unit query by no more than ``scale / 2 * sqrt(dim)``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.bytes_per_row = dim + 4

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        scale = np.abs(vectors).max(1, initial=0).astype(np.float32) / 127  # (N,)
        steps = np.rint(vectors / np.maximum(scale, np.finfo(np.float32).tiny)[:, None])
        codes = np.empty((len(vectors), self.bytes_per_row), np.uint8)
        codes[:, : self.dim] = steps.astype(np.int8).view(np.uint8)
        codes[:, self.dim :] = scale[:, None].view(np.uint8)
        return codes

    def decode(self, codes: np.ndarray) -> Tensor:
        both = as_tensor(codes)
        steps = both[:, : self.dim].view(torch.int8).to(torch.float32)  # (N, S)
        scale = both[:, self.dim :].clone(memory_format=torch.contiguous_format)  # (N, 4) bytes
        return steps.mul_(scale.view(torch.float32))

    def scores(self, codes: np.ndarray, queries: Tensor) -> Tensor:
        """Inner products of ``N`` rows with ``queries (Q, S)``: ``(N, Q)`` float32.

        Queries are split into a coarse and a fine part of a byte each. Products of whole numbers
        are exact in float32 (up to S = 1040), so that a score does not depend on what is scored
        with it, and what queries lose is 250 times less than what the rows have lost.
        """
        tiny = torch.finfo(torch.float32).tiny
        step = queries.abs().amax(1, keepdim=True).clamp(min=tiny) / 127  # (Q, 1)
        coarse = (queries / step).round()
        fine = ((queries / step - coarse) * FINE).round()
        parts = torch.cat([coarse, fine])  # (2 Q, S)
        # Few queries times many rows is quick only if the product's rows are the queries.
        scores = torch.empty(len(queries), len(codes))
        steps = np.empty((min(len(codes), SCORED_ROWS), self.dim), np.float32)
        for start in range(0, len(codes), SCORED_ROWS):
            part = codes[start : start + SCORED_ROWS]
            rows = steps[: len(part)]
            rows[:] = part[:, : self.dim].view(np.int8)
            scale = torch.from_numpy(part[:, self.dim :].copy().view(np.float32)[:, 0])  # (n,)
            high, low = (parts @ torch.from_numpy(rows).T).chunk(2)
            both = (high * FINE).add_(low).mul_(step / FINE)
            torch.mul(both, scale, out=scores[:, start : start + len(part)])
        return scores.T


class ProductCodec(HalfCodec):
    """Product quantisation: one byte for every few dimensions, an entry of a trained codebook.

    Jégou et al., "Product Quantization for Nearest Neighbor Search", PAMI 2011; by FAISS.

    Args:
        dim: S, of the vectors.
        codebook: ``(S / d, 256, d)`` float32, from :func:`train_codebook`.
    """

    def __init__(self, dim: int, codebook: np.ndarray) -> None:
        super().__init__(dim)
        self.codebook = codebook
        self.bytes_per_row = len(codebook)
        self._faiss = import_faiss().ProductQuantizer(dim, len(codebook), 8)
        import_faiss().copy_array_to_vector(
            np.ascontiguousarray(codebook, np.float32).ravel(), self._faiss.centroids
        )

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        return self._faiss.compute_codes(np.ascontiguousarray(vectors, np.float32))

    def decode(self, codes: np.ndarray) -> Tensor:
        return torch.from_numpy(self._faiss.decode(np.ascontiguousarray(codes)))


def train_codebook(vectors: np.ndarray, part_dims: int) -> np.ndarray:
    """Entries for a :class:`ProductCodec` by k-means, the same for the same vectors.

    Args:
        vectors: ``(N, S)`` float32, S divisible by ``part_dims``; 10 thousand are plenty.
        part_dims: d, dimensions that share a byte.

    Returns:
        ``(S / d, 256, d)`` float32.
    """
    dim = vectors.shape[1]
    if dim % part_dims:
        raise ValueError(f'product quantisation by {part_dims} dimensions cannot split {dim}')
    faiss = import_faiss()
    quantizer = faiss.ProductQuantizer(dim, dim // part_dims, 8)
    quantizer.cp.min_points_per_centroid = 1
    enough = np.resize(np.ascontiguousarray(vectors, np.float32), (max(len(vectors), 256), dim))
    quantizer.train(enough)
    return faiss.vector_to_array(quantizer.centroids).reshape(-1, 256, part_dims)


Codec = HalfCodec | Int8Codec | ProductCodec
# Names of level 2's codecs, and the dimensions that share a byte where it is quantised.
PRODUCT = {'pq2': 2, 'pq4': 4}
LEVEL2 = ('int8', 'fp16', *PRODUCT)


def make_codec(name: str, dim: int, codebook: np.ndarray | None = None) -> Codec:
    """The codec of that name.

    Args:
        name: one of ``LEVEL2``.
    """
    if name in PRODUCT:
        assert codebook is not None
        return ProductCodec(dim, codebook.reshape(-1, 256, PRODUCT[name]))
    return (Int8Codec if name == 'int8' else HalfCodec)(dim)
