"""R@n,IoU=m and mIoU: hand-computed values, a slow reference, several ranks."""

import random

import pytest
import torch
from mmengine.evaluator import Evaluator, metric

from demul_mm.evaluation.metrics import MomentRecall
from demul_mm.evaluation.predictions import pad_spans
from demul_mm.registry import METRICS
from tests.evaluation.helpers import make_sample


def _slow_iou(a, b):
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / hull if hull > 0 else 0.0


def _slow_recall(pred, gt, topk, ious, iou_op):
    """One query at a time, plain Python."""
    metrics = {}
    for n in topk:
        for m in ious:
            hits = 0
            for guesses, truths in zip(pred, gt):
                best = [_slow_iou(g, t) for g in guesses[:n] for t in truths]
                hits += any(v >= m if iou_op == 'ge' else v > m + 1e-9 for v in best)
            metrics[f'R@{n},IoU={m}'] = 100 * hits / len(pred)
    top = [max((_slow_iou(g[0], t) for t in truths), default=0) if g else 0
           for g, truths in zip(pred, gt)]  # fmt: skip
    metrics['mIoU'] = 100 * sum(top) / len(pred)
    return metrics


def _random_queries(num: int, seed: int):
    rng = random.Random(seed)

    def spans(count):
        pairs = [sorted(rng.sample(range(12), 2)) for _ in range(count)]
        return [[float(s), float(e)] for s, e in pairs]

    return [spans(rng.randint(0, 7)) for _ in range(num)], [
        spans(rng.randint(1, 3)) for _ in range(num)
    ]


@pytest.mark.parametrize('iou_op', ['ge', 'gt'])
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_slow_reference_with_ties(iou_op, seed):
    pred, gt = _random_queries(300, seed)
    topk, ious = (1, 2, 5), (0.25, 0.3, 0.5, 0.75)
    fast = MomentRecall.calculate(
        *pad_spans(pred), *pad_spans(gt), topk=topk, ious=ious, iou_op=iou_op
    )
    assert fast == pytest.approx(_slow_recall(pred, gt, topk, ious, iou_op), abs=1e-9)


def test_hand_computed_and_the_operator_matters_at_a_tie():
    # Truth (0, 10). IoU of the guesses: 0.5, a tie; then 0.8; none at all; 0.
    pred = [[[0, 5]], [[20, 30], [0, 8]], [], [[10, 20]]]
    gt = [[[0, 10]]] * 4
    arrays = (*pad_spans(pred), *pad_spans(gt))
    ge = MomentRecall.calculate(*arrays, topk=(1, 5), ious=(0.5,), iou_op='ge')
    gt_ = MomentRecall.calculate(*arrays, topk=(1, 5), ious=(0.5,), iou_op='gt')
    assert ge == {'R@1,IoU=0.5': 25.0, 'R@5,IoU=0.5': 50.0, 'mIoU': 12.5}
    assert gt_ == {'R@1,IoU=0.5': 0.0, 'R@5,IoU=0.5': 25.0, 'mIoU': 12.5}


def test_a_tie_that_rounding_lifts_is_still_a_tie():
    # (11.8 - 8.2) / 12 is 0.3; in binary it comes out as 0.30000000000000010.
    pred, gt = [[[0.0, 12.0]]], [[[8.2, 11.8]]]
    arrays = (*pad_spans(pred), *pad_spans(gt))
    lifted = MomentRecall.calculate(*arrays, topk=(1,), ious=(0.3,), iou_op='gt', tolerance=0.0)
    strict = MomentRecall.calculate(*arrays, topk=(1,), ious=(0.3,), iou_op='gt')
    assert lifted['R@1,IoU=0.3'] == 100.0
    assert strict['R@1,IoU=0.3'] == 0.0


def test_several_true_moments_the_one_that_fits_counts():
    arrays = (*pad_spans([[[0, 10]]]), *pad_spans([[[50, 60], [0, 8], [0, 2]]]))
    result = MomentRecall.calculate(*arrays, topk=(1,), ious=(0.7,))
    assert result == {'R@1,IoU=0.7': 100.0, 'mIoU': 80.0}


def test_nan_predictions_are_misses():
    nan = float('nan')
    arrays = (*pad_spans([[[nan, nan], [0, 10]]]), *pad_spans([[[0, 10]]]))
    result = MomentRecall.calculate(*arrays, topk=(1, 5), ious=(0.5,))
    assert result == {'R@1,IoU=0.5': 0.0, 'R@5,IoU=0.5': 100.0, 'mIoU': 0.0}


def test_no_prediction_for_any_query_is_zero_not_an_error():
    result = MomentRecall.calculate(*pad_spans([[], []]), *pad_spans([[[0, 1]], [[1, 2]]]))
    assert set(result.values()) == {0.0}
    assert len(result) == 7


def test_padding_changes_nothing():
    pred, gt = _random_queries(50, seed=9)
    spans, mask = pad_spans(pred)
    wide = torch.cat([spans, torch.ones(50, 3, 2, dtype=spans.dtype)], 1)
    wide_mask = torch.cat([mask, torch.zeros(50, 3, dtype=torch.bool)], 1)
    truth = pad_spans(gt)
    assert MomentRecall.calculate(wide, wide_mask, *truth) == MomentRecall.calculate(
        spans, mask, *truth
    )


SAMPLES = [
    make_sample(0, gt=[[[0, 10]], [[24.3, 30.0]]], pred=[[[0, 5, 0.9]], [[24.3, 30.0, 0.1]]]),
    make_sample(1, gt=[[[0, 10]]], pred=[[[20, 30, 0.2], [0, 9, 0.8]]]),
    make_sample(2, gt=[[[0, 30]], []], pred=[[[0, 30, 0.2]], [[0, 1, 0.5]]]),
]


def _run(samples, options=None):
    built = METRICS.build(dict(type='MomentRecall', ious=(0.5, 0.7), **(options or {})))
    evaluator = Evaluator(built)
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples))


def test_through_the_evaluator_the_best_score_comes_first_and_unknown_truth_is_left_out():
    result = _run(SAMPLES, dict(floors=False))
    assert result == {
        'R@1,IoU=0.5': 100.0, 'R@1,IoU=0.7': 75.0, 'R@5,IoU=0.5': 100.0, 'R@5,IoU=0.7': 75.0,
        'mIoU': pytest.approx(100 * (0.5 + 1 + 0.9 + 1) / 4),
    }  # fmt: skip


def test_only_unknown_truth_gives_no_numbers():
    assert _run([make_sample(0, gt=[[]], pred=[[[0, 1, 0.5]]])]) == {}


def test_a_second_evaluation_starts_afresh():
    built = MomentRecall(floors=False)
    for sample in SAMPLES:
        built.process(None, [sample])
    first = built.evaluate(3)
    built.process(None, SAMPLES)
    assert built.evaluate(3) == first


@pytest.mark.parametrize('world', [2, 3, 4])
def test_samples_padded_by_the_sampler_are_counted_once(monkeypatch, world):
    """Each rank has its share; the last ones are filled up with the first samples again."""
    samples = [
        make_sample(i, gt=[[[0, 10]]] * (i + 1), pred=[[[0, 10.0 - i, 0.5]]] * (i + 1))
        for i in range(5)
    ]
    alone = _run(samples)
    per_rank = -(-len(samples) // world)
    order = [i % len(samples) for i in range(per_rank * world)]
    for shares in (
        [order[rank::world] for rank in range(world)],  # as DefaultSampler deals
        [order[rank * per_rank : (rank + 1) * per_rank] for rank in range(world)],  # in blocks
    ):
        gathered = []
        for share in shares:
            rank_metric = MomentRecall(ious=(0.5, 0.7))
            rank_metric.process(None, [samples[i] for i in share])
            gathered.append(list(rank_metric.results))
        flat = [row for rows in zip(*gathered) for row in rows]
        monkeypatch.setattr(
            metric, 'collect_results', lambda part, size, *a, flat=flat, **k: flat[:size]
        )
        assert rank_metric.evaluate(len(samples)) == alone
        monkeypatch.undo()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(iou_op='>'), "iou_op is '>'; it must be 'ge'"),
        (dict(ious=0.5), r'ious is 0.5; give a list, as ious=\[0.5\]'),
        (dict(topk=(0,)), r'topk is \(0,\)'),
        (dict(ious=(50,)), r'ious is \(50,\); give numbers in \(0, 1\]'),
    ],
)
def test_wrong_options_say_what_is_allowed(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MomentRecall(**options)
