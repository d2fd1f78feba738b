"""How the vectors of an index are kept: a row of bytes each.

All codecs share three functions: ``encode`` (float rows to bytes), ``decode`` (back) and ``scores``
(inner products of decoded rows with a query, without keeping the decoded rows).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demul_mm.index.storage import FileInfo, check_file, map_array, write_file

# Rows that are decoded at once for scoring: what stays in the cache is scored fastest.
SCORED_ROWS = 2048


# Fine steps in a coarse one, of queries in whole numbers.
FINE = 254


def as_tensor(codes: np.ndarray) -> Tensor:
    """A tensor over the memory of ``codes``, or over a copy where that is read-only."""
    return torch.from_numpy(codes if codes.flags.writeable else codes.copy())


def split_queries(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Queries ``(Q, S)`` in whole numbers.

    Returns:
        ``(S, 2 Q)`` int8, first the coarse parts, then the fine ones, and the size of a coarse step
        ``(Q,)``: ``query = step * (coarse + fine / FINE)``.
    """
    step = queries.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
    scaled = queries / step
    coarse = scaled.round()
    fine = ((scaled - coarse) * FINE).round()
    return torch.cat([coarse, fine]).to(torch.int8).T.contiguous(), step[:, 0]


def multiply_bytes(rows: Tensor, columns: Tensor) -> Tensor:
    """``(N, S)`` times ``(S, K)``, both int8, to ``(N, K)`` int32, exactly.

    Several times as fast as in float32: processors have instructions for it.
    """
    return torch._int_mm(rows, columns)


class Int8Codec:
    """One signed byte per dimension and a float32 scale per vector.

    The largest magnitude of a vector is 127 steps, so no component is off by more than half a step
    and an inner product with a unit query by no more than ``scale / 2 * sqrt(dim)``.

    Args:
        dim: S, of the vectors.
    """

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

    def decode(self, codes: np.ndarray) -> Tensor:
        """``(N, bytes_per_row)`` uint8 to ``(N, S)`` float32."""
        both = as_tensor(codes)
        steps = both[:, : self.dim].view(torch.int8).to(torch.float32)  # (N, S)
        return steps.mul_(both[:, self.dim :].contiguous().view(torch.float32))

    def scores(self, codes: np.ndarray, queries: Tensor) -> Tensor:
        """Inner products of ``N`` rows with ``queries (Q, S)``: ``(N, Q)`` float32.

        Whole numbers are multiplied: queries are split into a coarse and a fine part of a byte
        each, so that what they lose is 250 times less than what the rows have lost.
        """
        scores = torch.empty(len(codes), len(queries))
        parts, step = split_queries(queries)  # (S, 2 Q), (Q,)
        for start in range(0, len(codes), SCORED_ROWS):
            part = slice(start, start + SCORED_ROWS)
            both = as_tensor(codes[part])
            scale = both[:, self.dim :].contiguous().view(torch.float32)  # (n, 1)
            coarse, fine = multiply_bytes(both[:, : self.dim].view(torch.int8), parts).chunk(2, 1)
            torch.mul((coarse * FINE).add_(fine).float().mul_(step / FINE), scale, out=scores[part])
        return scores


class HalfCodec:
    """Half precision, two bytes per dimension.

    Args:
        dim: S, of the vectors.
    """

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
        return _score_by_parts(self, codes, queries)


class ProductCodec:
    """Product quantisation: one byte for every few dimensions, an entry of a trained codebook.

    Jégou et al., "Product Quantization for Nearest Neighbor Search", PAMI 2011.

    Args:
        dim: S, of the vectors.
        codebook: ``(S / d, 256, d)`` float32, from :func:`train_codebook`.
    """

    def __init__(self, dim: int, codebook: np.ndarray) -> None:
        self.dim = dim
        self.codebook = codebook
        self._book = torch.from_numpy(np.array(codebook, np.float32))  # (P, 256, d)
        self.bytes_per_row = len(codebook)
        self._rows = torch.arange(len(codebook)) * 256  # where each part's entries start

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """``(N, S)`` float32 to ``(N, P)`` uint8."""
        codes = [np.empty((0, self.bytes_per_row), np.uint8)]
        for start in range(0, len(vectors), SCORED_ROWS):
            part = torch.from_numpy(np.ascontiguousarray(vectors[start : start + SCORED_ROWS]))
            codes.append(_nearest(part, self._book).T.to(torch.uint8).numpy())
        return np.concatenate(codes)

    def decode(self, codes: np.ndarray) -> Tensor:
        """``(N, P)`` uint8 to ``(N, S)`` float32."""
        entries = as_tensor(codes).to(torch.int32) + self._rows.to(torch.int32)
        return self._book.view(-1, self._book.shape[2])[entries].view(len(codes), self.dim)

    def scores(self, codes: np.ndarray, queries: Tensor) -> Tensor:
        """Inner products of ``N`` rows with ``queries (Q, S)``: ``(N, Q)`` float32."""
        return _score_by_parts(self, codes, queries)


def _nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """For each part of ``vectors (N, S)`` the nearest entry of ``book (P, 256, d)``: ``(P, N)``."""
    parts = vectors.view(len(vectors), len(book), -1).transpose(0, 1)  # (P, N, d)
    closeness = parts @ book.transpose(1, 2) - book.square().sum(-1)[:, None] / 2
    return closeness.argmax(-1)


def train_codebook(vectors: np.ndarray, part_dims: int, steps: int = 10) -> np.ndarray:
    """Entries for a :class:`ProductCodec` by k-means, the same for the same vectors.

    Args:
        vectors: ``(N, S)`` float32, S divisible by ``part_dims``; 10 thousand are plenty.
        part_dims: d, dimensions that share a byte.
        steps: of k-means.

    Returns:
        ``(S / d, 256, d)`` float32.
    """
    dim = vectors.shape[1]
    if dim % part_dims:
        raise ValueError(f'product quantisation by {part_dims} dimensions cannot split {dim}')
    rng = np.random.default_rng(0)
    sample = rng.choice(len(vectors), min(len(vectors), 20_000), replace=False)
    rows = torch.from_numpy(np.ascontiguousarray(vectors[sample], np.float32))
    parts = rows.view(len(rows), -1, part_dims).transpose(0, 1)  # (P, N, d)
    first = torch.from_numpy(rng.choice(len(rows), 256, replace=len(rows) < 256))
    book = parts[:, first].clone()
    for _ in range(steps):
        nearest = torch.cat([_nearest(r, book) for r in rows.split(SCORED_ROWS)], 1)  # (P, N)
        index = nearest[..., None].expand(-1, -1, part_dims)
        # An entry that nothing is nearest to stays where it is.
        book = book.scatter_reduce(1, index, parts, 'mean', include_self=False)
    return book.numpy()


def _score_by_parts(
    codec: 'HalfCodec | ProductCodec', codes: np.ndarray, queries: Tensor
) -> Tensor:
    scores = torch.empty(len(codes), len(queries))
    for start in range(0, len(codes), SCORED_ROWS):
        part = slice(start, start + SCORED_ROWS)
        torch.matmul(codec.decode(codes[part]), queries.T, out=scores[part])
    return scores


Codec = Int8Codec | HalfCodec | ProductCodec
# Names of level 2's codecs, and the dimensions that share a byte where it is quantised.
PRODUCT = {'pq2': 2, 'pq4': 4}
LEVEL2 = ('int8', 'fp16', *PRODUCT)


def make_codec(name: str, dim: int, codebook: np.ndarray | None = None) -> Codec:
    """The codec of that name.

    Args:
        name: one of ``LEVEL2``.
        dim: S.
        codebook: of product quantisation.
    """
    if name == 'int8':
        return Int8Codec(dim)
    if name == 'fp16':
        return HalfCodec(dim)
    assert codebook is not None
    return ProductCodec(dim, codebook)


def write_codebook(root: Path, name: str, vectors: np.ndarray, number: str) -> FileInfo | None:
    """Train what the codec ``name`` needs on ``vectors`` and write it; None if it needs nothing."""
    if name not in PRODUCT:
        return None
    book = train_codebook(vectors, PRODUCT[name])
    return write_file(root, f'codebook-{number}.bin', book)


def open_codec(root: Path, name: str, dim: int, info: FileInfo | None, verify: bool) -> Codec:
    """The codec of an index, with its codebook if it has one."""
    if info is None:
        return make_codec(name, dim)
    parts = PRODUCT[name]
    path = check_file(root, info, verify)
    return make_codec(name, dim, map_array(path, '<f4', (dim // parts, 256, parts)))
