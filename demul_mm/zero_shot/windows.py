"""The frames of a video as vectors, and its windows at many scales."""

from collections.abc import Callable, Sequence

import numpy as np

from demul_mm.video.clips import stream_features

# Frames in memory at once, as large as the video's.
BATCH = 4


def frame_vectors(
    path: str,
    encode: Callable[[Sequence[np.ndarray]], np.ndarray],
    seconds: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, float]:
    """Vectors of evenly spaced frames, in memory that does not depend on the video's length.

    Row i is of the frame that is shown in the middle of ``[i, i + 1] * duration / T``.

    Args:
        encode: from pictures ``(H, W, 3)`` uint8 RGB to ``(n, S)``.
        seconds: between frames, nearly: T is ``duration / seconds`` rounded, at least 1.
        progress: called with the share of the video that is done.

    Returns:
        ``(T, S)`` float32 and the duration in seconds.

    Raises:
        FileNotFoundError, ValueError: the file cannot be read.
    """
    clips = dict(clip_seconds=seconds, frames_per_clip=1, size=None)

    def encode_pictures(chunk: np.ndarray) -> np.ndarray:
        return encode([picture for picture in chunk[:, :, 0].transpose(0, 2, 3, 1)])

    rows, duration = stream_features(path, clips, encode_pictures, progress, BATCH)
    return rows.astype(np.float32), duration


def window_spans(num_frames: int, shots: Sequence[int] = (0,)) -> np.ndarray:
    """Windows of 1, 2, 4, ... frames, each half over the one before, and the whole.

    Where shots are known, windows lie in one shot, or are runs of 1, 2, 4, ... whole ones.

    Args:
        num_frames: T.
        shots: the frames with which shots begin, ascending from 0.

    Returns:
        ``(M, 2)`` int, first frame and the one after the last; M is below ``3 * T + 2``, with
        shots below ``6 * T + 2``.
    """
    borders = np.array([*shots, num_frames])
    inside = [start + _scales(size) for start, size in zip(shots, np.diff(borders))]
    windows = np.concatenate([*inside, borders[_scales(len(shots))]])
    return np.array(list(dict.fromkeys(map(tuple, windows.tolist()))))


def _scales(length: int) -> np.ndarray:
    """``(M, 2)``: 1, 2, 4, ... of ``length`` things, each half over the one before, and all."""
    windows = []
    size = 1
    while size < length:
        windows += [(at, at + size) for at in range(0, length - size + 1, max(1, size // 2))]
        windows.append((length - size, length))
        size *= 2
    return np.array([*windows, (0, length)])


def window_vectors(frames: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """The unit vector of the mean of each window's frames.

    Args:
        frames: ``(T, S)``.
        windows: ``(M, 2)`` int.

    Returns:
        ``(M, S)`` float32.
    """
    total = np.zeros((len(frames) + 1, frames.shape[1]))
    np.cumsum(frames, axis=0, dtype=np.float64, out=total[1:])
    means = (total[windows[:, 1]] - total[windows[:, 0]]) / (windows[:, 1:] - windows[:, :1])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return (means / np.maximum(norms, 1e-12)).astype(np.float32)
