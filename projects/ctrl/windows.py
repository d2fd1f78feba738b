"""Sliding windows, and the offsets that move their borders."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from demul_mm.structures import running_sum


def sliding_windows(extent: float, lengths: Sequence[float], overlap: float) -> list[list[float]]:
    """Windows of each length, ``overlap`` of it in common with the next, in seconds.

    Lengths over ``extent`` give none; where all are, the whole video is the window.
    """
    windows = []
    for length in lengths:
        step = (1 - overlap) * length
        number = int((extent - length) / step + 1e-6) + 1 if length <= extent else 0
        windows += [[step * i, step * i + length] for i in range(number)]
    return windows or [[0.0, extent]]


def pad_windows(videos: Sequence[list[list[float]]]) -> tuple[Tensor, Tensor]:
    """``(V, P, 2)`` seconds and mask ``(V, P)``, on the CPU."""
    counts = np.array([len(windows) for windows in videos])
    mask = np.arange(counts.max()) < counts[:, None]
    padded = np.zeros((*mask.shape, 2), np.float32)
    padded[mask] = np.concatenate([np.array(windows) for windows in videos])
    return torch.from_numpy(padded), torch.from_numpy(mask)


def pool(clips: Tensor, spans: Tensor) -> Tensor:
    """Means of clips over spans, clips at the borders by their share; zeros outside the video.

    Args:
        clips: ``(V, T, d)``.
        spans: ``(V, P, 2)`` in clips.

    Returns:
        ``(V, P, d)``.
    """
    total = torch.nn.functional.pad(running_sum(clips.float()), (0, 0, 1, 0))  # (V, T + 1, d)
    last = clips.shape[1]

    def integral(border: Tensor) -> Tensor:
        low = border.floor().clamp(max=last - 1).long()
        at = low[..., None].expand(-1, -1, clips.shape[2])
        return total.gather(1, at) + (border - low)[..., None] * clips.gather(1, at)

    start, end = spans.clamp(0, last).unbind(-1)
    length = (spans[..., 1] - spans[..., 0]).clamp(min=1e-4)
    return (integral(end) - integral(start)) / length[..., None]


def with_context(clips: Tensor, spans: Tensor) -> Tensor:
    """A window between its left and its right neighbour of the same length: ``(V, P, 3 d)``."""
    length = (spans[..., 1] - spans[..., 0])[..., None]
    return torch.cat([pool(clips, spans + shift * length) for shift in (-1, 0, 1)], -1)


def encode_offsets(windows: Tensor, truth: Tensor, unit: float) -> Tensor:
    """How far borders are off, in units of ``unit`` seconds; both ``(..., 2)`` seconds."""
    return (truth - windows) / unit


def decode_offsets(windows: Tensor, offsets: Tensor, unit: float) -> Tensor:
    """The inverse of :func:`encode_offsets`."""
    return windows + offsets * unit
