"""Borders for the windows that an index of videos finds."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from demul_mm.structures.spans import span_iou
from demul_mm.zero_shot.scorers import all_spans, standing_out


def sharpen(curve: np.ndarray, frame: int) -> tuple[int, int] | None:
    """The moment around a frame: of all spans that hold it, the one that stands out most.

    Args:
        curve: ``(T,)``, how well each frame of a video fits the sentence.
        frame: which one.

    Returns:
        Its first frame and the one after its last (see
        :func:`~demul_mm.zero_shot.scorers.standing_out`); None if none stands out.
    """
    spans = all_spans(len(curve), frame)
    height = standing_out(curve, spans)
    if height.max() <= 0:
        return None
    start, end = spans[height.argmax()].tolist()
    return start, end


def sharpen_found(
    videos: Sequence[str],
    spans: Sequence[tuple[float, float]],
    curves: Mapping[str, tuple[np.ndarray, float]],
    overlap: float,
) -> tuple[np.ndarray, list[int]]:
    """Give ``H`` windows the borders of the moments around their best frames.

    Windows whose best frames lie in one moment, or that overlap then, become one, in the place of
    the best of them. A window in which nothing stands out stays as it is.

    Args:
        videos: of each window, best first.
        spans: each in seconds.
        curves: of the videos whose windows are sharpened, the curve ``(T,)`` and the seconds
            between its frames. Other windows stay as they are.
        overlap: IoU above which two moments of one video are one.

    Returns:
        ``(K, 2)`` seconds, and which of the windows they were.
    """
    placed = torch.tensor(spans, dtype=torch.float64).reshape(-1, 2)
    frames: dict[str, set[int]] = {video: set() for video in curves}  # of moments found before
    kept: dict[str, list[int]] = {}
    for place, video in enumerate(videos):
        moment = None
        if video in curves:
            curve, step = curves[video]
            first, last = (placed[place] / step).round().int().tolist()
            first = min(first, len(curve) - 1)
            best = first + int(curve[first : max(last, first + 1)].argmax())
            if best in frames[video]:
                continue
            moment = sharpen(curve, best)
        if moment is not None:
            placed[place] = torch.tensor(moment) * step
        better = placed[kept.setdefault(video, [])]
        if bool((span_iou(placed[place], better) > overlap).any()):
            continue
        kept[video].append(place)
        if moment is not None:
            frames[video].update(range(*moment))
    order = sorted(place for places in kept.values() for place in places)
    return placed[order].numpy(), order
