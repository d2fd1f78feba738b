"""Bringing a sequence of clips to another length."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from demul_mm.registry import TRANSFORMS

MODES = ('mean', 'nearest', 'linear')


def resample_rows(rows: np.ndarray, length: int, mode: str = 'mean') -> np.ndarray:
    """``length`` rows that cover the same time as ``rows (T, d)``, both in uniform cells.

    Args:
        rows: ``(T, d)``; row ``t`` covers the cell ``[t, t + 1) / T`` of the time.
        length: number of new cells.
        mode: ``'mean'``: the average over a cell, with the rows at its edges counted by the share
            of them that lies inside (keeps the time integral); ``'nearest'``: the row at the
            centre of a cell; ``'linear'``: interpolated between row centres, at its centre.

    Returns:
        ``(length, d)`` in the type of ``rows``.
    """
    total = len(rows)
    if length == total:
        return rows
    if mode == 'nearest':
        return rows[((np.arange(length) + 0.5) * total / length).astype(np.int64)]
    if mode == 'linear':
        centres = np.clip((np.arange(length) + 0.5) * total / length - 0.5, 0, total - 1)
        low = np.minimum(centres.astype(np.int64), max(total - 2, 0))
        share = (centres - low)[:, None].astype(rows.dtype)
        return rows[low] * (1 - share) + rows[np.minimum(low + 1, total - 1)] * share
    # The integral of the rows from 0 to each edge; a cell's mean is a difference of two.
    integral = np.zeros((total + 1, rows.shape[1]), dtype=np.float64)
    np.cumsum(rows, axis=0, dtype=np.float64, out=integral[1:])
    edges = np.arange(length + 1) * total / length
    low = np.minimum(edges.astype(np.int64), total - 1)
    at_edges = integral[low] + (edges - low)[:, None] * rows[low]
    return (np.diff(at_edges, axis=0) * (length / total)).astype(rows.dtype)


@TRANSFORMS.register_module()
class ResampleClips(BaseTransform):
    """Bring the clips of streams to a common number; their extent in seconds stays as it is.

    Modified keys: ``streams[...]``.

    Args:
        num_clips: number of clips; None: keep all there are.
        mode: ``'mean'``, ``'nearest'`` or ``'linear'``, see :func:`resample_rows`.
        keep_short: leave a sequence alone that is not longer than ``num_clips``, instead of
            stretching it.
        streams: which streams.
    """

    def __init__(
        self,
        num_clips: int | None,
        mode: str = 'mean',
        keep_short: bool = True,
        streams: Sequence[str] = ('visual',),
    ) -> None:
        if num_clips is not None and num_clips < 1:
            raise ValueError(f'num_clips={num_clips}: give at least 1, or None to keep all')
        if mode not in MODES:
            raise ValueError(f'mode is {mode!r}; allowed: {", ".join(map(repr, MODES))}')
        self.num_clips = num_clips
        self.mode = mode
        self.keep_short = keep_short
        self.streams = tuple(streams)

    def transform(self, results: dict) -> dict:
        for name in self.streams:
            rows = results['streams'][name]
            if self.num_clips is None or (self.keep_short and len(rows) <= self.num_clips):
                continue
            results['streams'][name] = resample_rows(rows, self.num_clips, self.mode)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_clips={self.num_clips}, mode={self.mode!r}, '
            f'keep_short={self.keep_short}, streams={self.streams})'
        )
