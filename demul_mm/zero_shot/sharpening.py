"""Exact borders for the windows that an index of videos finds."""

from collections.abc import Mapping, Sequence

import numpy as np

from demul_mm.zero_shot.scorers import all_spans, standing_out


def sharpen(curve: np.ndarray, frame: int) -> tuple[int, int]:
    """The moment around a frame: of all spans that hold it, the one that stands out most.

    Args:
        curve: ``(T,)``, how well each frame of a video fits the sentence.
        frame: which one.

    Returns:
        Its first frame and the one after its last (see
        :func:`~demul_mm.zero_shot.scorers.standing_out`).
    """
    spans = all_spans(len(curve), frame)
    start, end = spans[standing_out(curve, spans).argmax()].tolist()
    return start, end


def sharpen_found(
    videos: Sequence[str],
    spans: Sequence[tuple[float, float]],
    curves: Mapping[str, tuple[np.ndarray, float]],
) -> tuple[np.ndarray, list[int]]:
    """Give ``H`` windows the borders of the moments around their best frames.

    Windows whose best frames lie in one moment become one, in the place of the best of them.

    Args:
        videos: of each window, best first.
        spans: each in seconds.
        curves: of the videos whose windows are sharpened, the curve ``(T,)`` and the seconds
            between its frames. Other windows stay as they are.

    Returns:
        ``(K, 2)`` seconds, and which of the windows they were.
    """
    placed, kept = [], []
    moments: dict[str, list[tuple[int, int]]] = {video: [] for video in curves}
    for place, (video, span) in enumerate(zip(videos, spans)):
        if video in curves:
            curve, step = curves[video]
            first, last = np.rint(np.divide(span, step)).astype(int).tolist()
            first = min(first, len(curve) - 1)
            frame = first + int(curve[first : max(last, first + 1)].argmax())
            if any(start <= frame < end for start, end in moments[video]):
                continue
            moments[video].append(sharpen(curve, frame))
            start, end = moments[video][-1]
            span = start * step, end * step
        placed.append(span)
        kept.append(place)
    return np.array(placed, dtype=np.float64).reshape(-1, 2), kept
