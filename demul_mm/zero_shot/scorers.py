"""Moments from a query's score curve alone: how well each frame of a video fits the sentence.

Each scorer takes the curve ``(T,)`` and the frames' vectors ``(T, S)`` and gives spans ``(M, 2)``
in frames, the end not included, with scores ``(M,)``, best first. They differ in what they take
for a moment; scores of different videos cannot be compared. None is trained. What their authors
published was reached with other features than a user's, and whole systems around them; figures
are R@1 at IoU .3, .5 and .7 and mIoU of the whole test splits, from the authors' repositories.
"""

from collections.abc import Callable

import numpy as np

from demul_mm.zero_shot.windows import window_spans

Scorer = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
# A moment has at most so many frames, and is compared with as many around it.
NEAR = 200
# In longer videos lengths grow by this share.
GROWTH = 1 / 8


def windows(curve: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows at scales of two by the mean of their curve: what an index of windows finds."""
    spans = window_spans(len(curve))
    return _ranked(spans, _means(curve, spans))


def scan(curve: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spans that stand out most for their length: see :func:`standing_out`.

    The scan statistic, which finds an interval of raised mean in noise as well as can be done
    without knowing its length (Arias-Castro, Donoho & Huo, "Near-optimal detection of geometric
    objects by fast multiscale methods", IEEE Transactions on Information Theory 2005).
    """
    spans = all_spans(len(curve))
    return _ranked(spans, standing_out(curve, spans))


def contrast(curve: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spans whose mean is most above that of all that is outside them; 0 for the whole video.

    The static score of Zheng et al., "Training-free Video Temporal Grounding using Large-scale
    Pre-trained Models" (ECCV 2024), whose system has a language model besides, that takes
    sentences apart, and dynamic scores, which are left out here. The whole of it, by BLIP-2:
    67.0, 50.0, 24.3, 44.5 on Charades-STA; 49.3, 27.0, 13.4, 34.1 on ActivityNet Captions.
    By itself it favours single frames: the highest of a noisy curve is far above the rest.
    """
    spans = all_spans(len(curve))
    return _ranked(spans, inside_minus_outside(curve, spans))


def diwan(
    curve: np.ndarray, frames: np.ndarray, share: float = 0.6
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring shots that fit better than a share of the range of all shots, merged.

    After Diwan, Peng and Mooney, "Zero-shot Video Moment Retrieval With Off-the-Shelf Models"
    (2022), which detects shots in the pictures; here a shot ends where the vectors of two
    neighbouring frames are unusually unlike, see :func:`shots`. Published on QVHighlights, as at
    least 2.5 times what zero-shot methods before it had, on all measures.

    Args:
        curve: ``(T,)``.
        frames: ``(T, S)`` unit vectors.
        share: part of the way from the worst shot's mean to the best one's.
    """
    borders = shots(frames)
    parts = np.stack([borders[:-1], borders[1:]], 1)
    means = _means(curve, parts)
    good = means >= means.min() + share * (means.max() - means.min())
    merged: list[list[int]] = []
    for (start, end), keep in zip(parts.tolist(), good):
        if keep and merged and merged[-1][1] == start:
            merged[-1][1] = end
        elif keep:
            merged.append([start, end])
    spans = np.array(merged)
    return _ranked(spans, _means(curve, spans))


def tag(
    curve: np.ndarray, frames: np.ndarray, window: int = 5, clusters: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Runs of frames of one cluster, and runs of such runs, by the contrast of a mended curve.

    After Lee et al., "TAG: A Simple Yet Effective Temporal-Aware Approach for Zero-Shot Video
    Temporal Grounding" (2025): vectors are averaged over their neighbours, clustered by k-means
    whose assignment looks at a window of time, and the curve, usually skewed, goes through a
    Box-Cox transform. Left out: dynamic scores, and the mask of frames below a similarity of .2,
    which belongs to BLIP-2. The whole of it, by BLIP-2: 67.8, 48.6, 26.7, 45.7 on Charades-STA;
    51.9, 28.9, 15.1, 36.6 on ActivityNet Captions.

    Args:
        curve: ``(T,)``.
        frames: ``(T, S)``.
        window: frames over which vectors and assignments are averaged, odd.
        clusters: k, at most.
    """
    labels = coherent_clusters(_smooth(frames, window), clusters, window)
    borders = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1, append=-2))
    starts, ends = np.triu_indices(len(borders) - 1)
    spans = np.stack([borders[starts], borders[ends + 1]], 1)
    return _ranked(spans, inside_minus_outside(unskew(curve), spans))


SCORERS: dict[str, Scorer] = dict(
    scan=scan, windows=windows, contrast=contrast, diwan=diwan, tag=tag
)
DEFAULT_SCORER = 'scan'


def standing_out(curve: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """How many standard errors the mean of each span is above that of the frames around it.

    Were frames alike and independent, the mean of ``L`` of them would vary by ``1 / sqrt(L)`` of
    what one does, so that short and long spans compare. Around it are ``NEAR`` frames, which is all
    of a short video: over a long one scenes rise and fall, and would be taken for moments.

    Args:
        curve: ``(T,)``.
        spans: ``(M, 2)`` int, first frame and the one after the last.

    Returns:
        ``(M,)``; 0 of a flat curve.
    """
    spread = curve.std(dtype=np.float64)
    if spread < 1e-6:
        return np.zeros(len(spans))
    first = (spans.sum(1) // 2 - NEAR // 2).clip(0, max(0, len(curve) - NEAR))
    near = np.stack([first, np.minimum(first + NEAR, len(curve))], 1)
    above = (_means(curve, spans) - _means(curve, near)) / spread
    return above * np.sqrt(spans[:, 1] - spans[:, 0])


def all_spans(length: int, frame: int | None = None) -> np.ndarray:
    """The spans ``(M, 2)`` of a video, or of those the ones that hold a frame.

    Of up to ``NEAR`` frames these are all spans. Of more they are no longer than that, and lengths
    grow by an eighth of themselves, rounded down, if that is more than one frame.
    """
    low, high = (0, length) if frame is None else (frame, frame)
    if length <= NEAR:
        starts, ends = np.meshgrid(np.arange(high + 1), np.arange(low + 1, length + 1))
        inside = starts < ends
        return np.stack([starts[inside], ends[inside]], 1)
    sizes = [1]
    while sizes[-1] < NEAR:
        sizes.append(min(NEAR, sizes[-1] + max(1, int(sizes[-1] * GROWTH))))
    firsts = [np.arange(max(0, low - size + 1), min(high, length - size) + 1) for size in sizes]
    return np.concatenate([np.stack([at, at + size], 1) for at, size in zip(firsts, sizes)])


def inside_minus_outside(curve: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Mean of the curve ``(T,)`` in each span less the mean of the rest; 0 where there is none."""
    inside = _means(curve, spans)
    length = spans[:, 1] - spans[:, 0]
    rest = len(curve) - length
    outside = (curve.sum(dtype=np.float64) - inside * length) / np.maximum(rest, 1)
    return np.where(rest > 0, inside - outside, 0.0)


def shots(frames: np.ndarray, deviations: float = 2.0) -> np.ndarray:
    """Borders of shots, from 0 to T: where neighbours are less alike than usual.

    Args:
        frames: ``(T, S)`` unit vectors.
        deviations: how many standard deviations less than the mean.
    """
    alike = (frames[1:] * frames[:-1]).sum(1)
    if not len(alike):
        return np.array([0, len(frames)])
    cuts = np.flatnonzero(alike < alike.mean() - deviations * alike.std()) + 1
    return np.array([0, *cuts, len(frames)])


def unskew(curve: np.ndarray) -> np.ndarray:
    """The curve through the Box-Cox transform that is most likely normal, in its own range.

    Box and Cox, "An Analysis of Transformations" (1964); the exponent is between -2 and 2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import boxcox, boxcox_llf

    low, high = float(curve.min()), float(curve.max())
    if high - low < 1e-9:
        return curve.astype(np.float64)
    scaled = (curve - low) / (high - low) + 1e-3  # above 0, as the transform asks
    best = minimize_scalar(lambda x: -boxcox_llf(x, scaled), bounds=(-2, 2), method='bounded').x
    bent = boxcox(scaled.astype(np.float64), best)
    return low + (high - low) * (bent - bent.min()) / (bent.max() - bent.min())


def coherent_clusters(
    frames: np.ndarray, number: int, window: int, rounds: int = 100
) -> np.ndarray:
    """K-means of which a frame's label is that nearest to all frames around it: labels ``(T,)``.

    The first centres are the first frame and then always the one farthest from those chosen, so
    that the answer does not depend on chance.

    Args:
        frames: ``(T, S)``.
        number: how many clusters, at most.
        window: frames whose distances are averaged.
        rounds: at most.
    """
    frames = frames.astype(np.float64)
    centres = frames[:1]
    while len(centres) < min(number, len(frames)):
        distances = _smooth(_distances(frames, centres), window).min(1)
        if distances.max() < 1e-6:
            break
        centres = np.concatenate([centres, frames[[distances.argmax()]]])
    labels = np.full(len(frames), -1)
    for _ in range(rounds):
        new = _smooth(_distances(frames, centres), window).argmin(1)
        if (new == labels).all():
            break
        labels = new
        for label in np.unique(labels):
            centres[label] = frames[labels == label].mean(0)
    return labels


def _distances(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squares = (frames**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * frames @ centres.T
    return np.sqrt(np.maximum(squares, 0))


def _smooth(rows: np.ndarray, window: int) -> np.ndarray:
    """Means of ``(T, d)`` over a window of time, the ends repeated."""
    half = window // 2
    padded = np.pad(rows.astype(np.float64), ((half, half), (0, 0)), mode='edge')
    total = np.pad(padded.cumsum(0), ((1, 0), (0, 0)))
    return (total[2 * half + 1 :] - total[: len(rows)]) / (2 * half + 1)


def _means(curve: np.ndarray, spans: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(curve, dtype=np.float64)])
    return (total[spans[:, 1]] - total[spans[:, 0]]) / (spans[:, 1] - spans[:, 0])


def _ranked(spans: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-scores, kind='stable')
    return spans[order], scores[order]
