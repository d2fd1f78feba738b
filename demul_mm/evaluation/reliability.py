"""Is a score a probability? Reliability of the scores of predictions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

from demul_mm.evaluation.metrics.moment_recall import best_iou
from demul_mm.evaluation.predictions import PredictionEntry, pad_entries


class Reliability(NamedTuple):
    """A reliability diagram: arrays over the bins that are not empty, and its summary."""

    confidence: np.ndarray  # mean score
    accuracy: np.ndarray  # share that hit
    size: np.ndarray  # predictions
    ece: float  # expected calibration error in [0, 1]
    brier: float  # mean squared difference of score and hit


def scores_and_hits(
    entries: Sequence[PredictionEntry], iou: float = 0.5, top: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the ``top`` predictions of each query, and whether each has ``IoU >= iou``.

    Raises:
        ValueError: a score is not in [0, 1], or ``top`` is below 1.
    """
    if top < 1:
        raise ValueError(f'top is {top}; 1 or more predictions of each query can be looked at')
    entries = [entry for entry in entries if entry['gt']]
    moments = pad_entries(entries)
    mask = moments.pred_mask[:, :top]
    hits = (best_iou(moments)[:, :top] >= iou)[mask].numpy()
    scores = np.array([row[2] for entry in entries for row in entry['pred'][:top]])
    outside = scores[(scores < 0) | (scores > 1)]
    if len(outside):
        raise ValueError(
            f'{len(outside)} of {len(scores)} scores are not in [0, 1] (the first: '
            f'{outside[0]:.3g}), so they are no probabilities; calibrate the model first'
        )
    return scores, hits


def reliability(scores: np.ndarray, hits: np.ndarray, num_bins: int = 15) -> Reliability:
    """Compare scores with how often they are right, in bins of equal width.

    Args:
        scores: ``(N,)`` in [0, 1].
        hits: ``(N,)`` bool.
        num_bins: bins of [0, 1]; the last is closed on both sides.

    Raises:
        ValueError: there are no predictions, or no bins.
    """
    if num_bins < 1:
        raise ValueError(f'{num_bins} bins; give 1 or more')
    if not len(scores):
        raise ValueError('there is no prediction with a known truth to compare')
    place = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    used = count > 0
    confidence = np.bincount(place, scores, minlength=num_bins)[used] / count[used]
    accuracy = np.bincount(place, hits, minlength=num_bins)[used] / count[used]
    ece = float(np.abs(confidence - accuracy) @ count[used] / len(scores))
    brier = float(np.mean((scores - hits) ** 2))
    return Reliability(confidence, accuracy, count[used], ece, brier)


def roc_auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a score of ``positive (N,)`` exceeds one of ``negative (M,)``; ties count a half.

    The area under the ROC curve: 1 tells the two apart, 0.5 tells nothing.
    """
    wins = mannwhitneyu(positive, negative, method='asymptotic').statistic
    return float(wins / (len(positive) * len(negative)))
