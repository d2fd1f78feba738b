"""Average precision of moments and of clips."""

import numpy as np
import pytest
import torch

from demul_mm.evaluation.metrics import QVHighlightsMetric
from demul_mm.evaluation.metrics.qvhighlights import IOUS, average_precision, clip_precision
from demul_mm.evaluation.predictions import entries_from_sample, pad_entries
from tests.evaluation.helpers import make_sample

# Two true moments; the second prediction fits the first of them again, the third the other.
TRUTH = [[0.0, 10.0], [20.0, 60.0]]
PREDICTED = [[0.0, 10.0, 0.9], [0.0, 9.0, 0.8], [20.0, 52.0, 0.7]]


def entry(query: str, gt: list, pred: list, **more: object) -> dict:
    return dict(query_id=query, video_id=query, query='', duration=150.0, gt=gt, pred=pred, **more)


def test_hand_computed() -> None:
    metric = QVHighlightsMetric(floors=False)
    found = metric.compute_entries([entry('a', TRUTH, PREDICTED), entry('b', [[0.0, 50.0]], [])])
    # IoU 1 at rank 1, and .8 at rank 3, which counts up to .8: 7 of 10 thresholds.
    both, one = (1 + 2 / 3) / 2, 1 / 2
    assert found == pytest.approx(
        {
            'R1@0.5': 50,
            'R1@0.7': 50,
            'mAP@0.5': 50 * both,
            'mAP@0.75': 50 * both,
            'mAP': 50 * (0.7 * both + 0.3 * one),
            'mAP/short': 100,  # of the query that has a short moment
            'mAP/long': 50 * 0.7 / 3,  # of both queries
        }
    )


def test_values_of_queries_average_to_the_metric() -> None:
    metric = QVHighlightsMetric(floors=False)
    rated = dict(saliency=[[3, 0], [0, 0]], pred_saliency=[0.5, 0.1])
    entries = [entry('a', TRUTH, PREDICTED, **rated), entry('b', [[0.0, 15.0]], PREDICTED)]
    values = metric.query_values(entries)
    assert np.isnan(values['mAP/middle']).tolist() == [True, False]
    assert np.isnan(values['HL-mAP/Good']).tolist() == [False, True]
    found = metric.compute_entries(entries)
    assert found == {key: pytest.approx(100 * np.nanmean(value)) for key, value in values.items()}


def test_floors_are_beside() -> None:
    found = QVHighlightsMetric().compute_entries([entry('a', [[0.0, 75.0]], PREDICTED)])
    assert found['floor/whole_video/R1@0.5'] == 100
    assert found['floor/whole_video/mAP@0.75'] == 0
    assert found['floor/constant_window/mAP'] == pytest.approx(100)


def slow_precision(gt: list, pred: list, iou: float) -> float:
    """As the definition says it, prediction by prediction."""
    left, hits = list(range(len(gt))), []
    for start, end, _ in pred:
        fits = {}
        for i in left:
            inter = max(0, min(end, gt[i][1]) - max(start, gt[i][0]))
            fits[i] = inter / (max(end, gt[i][1]) - min(start, gt[i][0]))
        best = max(fits, key=lambda i: (fits[i], i), default=None)
        hits.append(best is not None and fits[best] >= iou)
        if hits[-1]:
            left.remove(best)
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precision[n:]) for n, hit in enumerate(hits) if hit) / len(gt)


def test_equals_a_slow_reference() -> None:
    rng = np.random.default_rng(0)

    def spans(number: int) -> list:
        start = rng.integers(0, 20, number)
        return np.stack([start, start + rng.integers(1, 12, number)], 1).astype(float).tolist()

    entries = [
        entry(str(q), spans(rng.integers(1, 5)), [[*s, 0.0] for s in spans(rng.integers(0, 10))])
        for q in range(60)
    ]
    found = average_precision(pad_entries(entries))
    assert ((found > 0) & (found < 1)).any()
    for row, one in zip(found, entries):
        expected = [slow_precision(one['gt'], one['pred'], iou) for iou in IOUS]
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64))


def test_of_moments_that_fit_equally_well_the_last_is_taken() -> None:
    one = entry('a', [[0.0, 10.0], [2.0, 12.0]], [[1.0, 11.0, 0.9], [0.0, 10.0, 0.8]])
    assert average_precision(pad_entries([one]), (0.8,)).tolist() == [[1.0]]


def test_ten_predictions_count() -> None:
    wrong = [[100.0, 101.0, 0.9]] * 9
    metric = QVHighlightsMetric(floors=False)
    tenth = metric.compute_entries([entry('a', [[0.0, 5.0]], [*wrong, [0.0, 5.0, 0.1]])])
    assert tenth['mAP'] == pytest.approx(10)
    eleventh = [*wrong, wrong[0], [0.0, 5.0, 0.1]]
    assert metric.compute_entries([entry('a', [[0.0, 5.0]], eleventh)])['mAP'] == 0


@pytest.mark.parametrize(
    ('relevant', 'scores', 'expected'),
    [
        ([1, 0, 1, 0], [4, 3, 2, 1], (1 + 2 / 3) / 2),
        ([0, 1, 1, 1], [4, 3, 2, 1], 3 / 4),  # interpolated: the precision at full recall
        ([1, 1, 0, 0], [1, 1, 1, 0], 2 / 3),  # equal scores come together
        ([0, 0], [1, 2], 0),
        ([1, 1], [1, 2], 1),
    ],
)
def test_precision_of_clips(relevant: list, scores: list, expected: float) -> None:
    found = clip_precision(np.array(relevant, dtype=bool), np.array(scores, dtype=float))
    assert found == pytest.approx(expected)


def test_highlights_of_a_sample() -> None:
    sample = make_sample(0, [[[0.0, 10.0]]], [[[0.0, 10.0, 0.9]]])
    sample['meta'] = {'saliency': {'v0#0': [[4, 0], [3, 4], [0, 0]]}}
    sample['pred_saliency'] = [torch.tensor([0.25, 0.5])]  # a clip short: it is last
    (one,) = entries_from_sample(sample)
    assert one['pred_saliency'] == [0.25, 0.5]
    found = QVHighlightsMetric(floors=False).compute_entries([one])
    # Very good: the second clip for one annotator, the first, ranked second, for the other.
    assert found['HL-mAP/VeryGood'] == pytest.approx(75)
    assert found['HIT@1/VeryGood'] == 100
    assert found['HL-mAP/Fair'] == 100
