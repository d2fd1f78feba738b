"""Bringing a sequence of clips to another length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS
from demul_mm.structures.names import as_names


def resample_rows(rows: np.ndarray, length: int) -> np.ndarray:
    """``length`` rows that cover the same time as ``rows (T, d)``, both in uniform cells.

    A new row is the average over its cell, with the rows at the cell's edges counted by the share
    of them that lies inside, so the integral over time stays.

    Args:
        rows: ``(T, d)``; row ``t`` covers the cell ``[t, t + 1) / T`` of the time.
        length: number of new cells.

    Returns:
        ``(length, d)`` in the type of ``rows``.
    """
    total = len(rows)
    if length == total:
        return rows
    # The integral of the rows from 0 to each edge; a cell's mean is a difference of two.
    integral = np.zeros((total + 1, rows.shape[1]), dtype=np.float64)
    np.cumsum(rows, axis=0, dtype=np.float64, out=integral[1:])
    edges = np.arange(length + 1) * total / length
    low = np.minimum(edges.astype(np.int64), total - 1)
    at_edges = integral[low] + (edges - low)[:, None] * rows[low]
    return (np.diff(at_edges, axis=0) * (length / total)).astype(rows.dtype)


@TRANSFORMS.register_module()
@dataclass(eq=False, repr=False)
class ResampleClips(Step):
    """Bring the clips of streams to a common number; their extent in seconds stays as it is.

    Modified keys: ``streams``. A stream that is None stays so.

    Args:
        num_clips: number of clips; None: as many as the first of the streams has.
        keep_short: if the first of the streams that are there is not longer than ``num_clips``,
            take its number of clips instead of stretching it.
        streams: which streams.
        scale: multiplies the number of clips that would be taken, above 0: other time scales for
            a test.
    """

    num_clips: int | None
    keep_short: bool = True
    streams: Sequence[str] = ('visual',)
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.num_clips is not None and self.num_clips < 1:
            raise ValueError(f'num_clips={self.num_clips}: give at least 1, or None to keep all')
        if self.scale <= 0:
            raise ValueError(f'scale={self.scale}: give a number above 0')
        self.streams = tuple(as_names(self.streams, 'streams'))

    def transform(self, results: dict) -> dict:
        streams = dict(results['streams'])
        absent = [name for name in self.streams if name not in streams]
        if absent:
            raise ValueError(
                f'ResampleClips is to resample a stream {absent[0]!r} that no step before it '
                f'loads (loaded: {sorted(streams)})'
            )
        present = [name for name in self.streams if streams[name] is not None]
        for name in present:
            length = self._length(len(results['streams'][present[0]]))
            streams[name] = resample_rows(streams[name], length)
        return {**results, 'streams': streams}

    def _length(self, found: int) -> int:
        length = found if self.num_clips is None else self.num_clips
        if self.keep_short:
            length = min(length, found)
        return max(1, round(length * self.scale))
