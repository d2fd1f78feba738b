"""The DiDeMo protocol: hand-computed values, a slow reference, the mapping from seconds."""

import random

import pytest
import torch
from mmengine.evaluator import Evaluator

from demul_mm.evaluation.metrics.didemo import (
    CANDIDATES,
    DiDeMoMetric,
    chunk_iou,
    rank_candidates,
    segment_index,
)
from demul_mm.evaluation.predictions import pad_spans
from demul_mm.registry import METRICS
from tests.evaluation.helpers import make_sample


def _slow(orders, times):
    """The protocol of PROTOCOLS, one query at a time."""

    def iou(a, b):
        inter = max(0, min(a[1], b[1]) + 1 - max(a[0], b[0]))
        return inter / (max(a[1], b[1]) + 1 - min(a[0], b[0]))

    ranks, ious = [], []
    for order, segments in zip(orders, times):
        top = sorted((iou(order[0], t) for t in segments), reverse=True)[:3]
        near = sorted(order.index(tuple(t)) + 1 for t in segments)[:3]
        ious.append(sum(top) / len(top))
        ranks.append(sum(near) / len(near))
    share = {f'Rank@{k}': 100 * sum(r <= k for r in ranks) / len(ranks) for k in (1, 5)}
    return {**share, 'mIoU': 100 * sum(ious) / len(ious)}


def _indices(times):
    segments, mask = pad_spans([[(5 * a, 5 * b + 5) for a, b in row] for row in times])
    return segment_index(segments), mask


def test_the_candidates_are_the_official_21():
    assert len(CANDIDATES) == 21
    assert CANDIDATES[:8] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (0, 1), (0, 2)]
    assert CANDIDATES[-1] == (4, 5)


def test_chunk_iou_by_hand():
    table = chunk_iou()
    at = CANDIDATES.index
    assert table.diagonal().tolist() == [1.0] * 21
    assert table[at((0, 0)), at((0, 1))] == 0.5
    assert table[at((0, 2)), at((2, 5))] == pytest.approx(1 / 6)
    assert table[at((0, 0)), at((1, 1))] == 0


@pytest.mark.parametrize('seed', range(3))
def test_equals_the_slow_reference(seed):
    rng = random.Random(seed)
    orders = [rng.sample(CANDIDATES, 21) for _ in range(200)]
    times = [[rng.choice(CANDIDATES[:9]) for _ in range(rng.randint(1, 6))] for _ in orders]
    order = torch.tensor([[CANDIDATES.index(c) for c in row] for row in orders])
    fast = DiDeMoMetric.calculate(order, *_indices(times))
    assert fast == pytest.approx(_slow(orders, times), abs=1e-9)


def test_hand_computed():
    # Ranks of the three nearest: (1, 1, 1) -> 1; (1, 1, 2) -> 4/3; (5, 5, 5) -> 5.
    order = torch.arange(21).expand(3, -1)
    times = [
        [(0, 0), (0, 0), (0, 0), (5, 5)],
        [(0, 0), (0, 0), (1, 1), (1, 1)],
        [(4, 4), (4, 4), (4, 4), (4, 4)],
    ]
    result = DiDeMoMetric.calculate(order, *_indices(times))
    assert result['Rank@1'] == pytest.approx(100 / 3)
    assert result['Rank@5'] == 100
    assert result['mIoU'] == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)


def test_predictions_that_are_candidates_keep_their_order():
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(21, generator=generator) for _ in range(50)])
    spans = torch.tensor([(5.0 * a, 5.0 * b + 5) for a, b in CANDIDATES]).double()
    ranked = rank_candidates(
        spans[order], torch.ones(50, 21, dtype=torch.bool), torch.full((50,), 30.0).double()
    )
    assert torch.equal(ranked, order)


def test_mapping_by_hand():
    at = CANDIDATES.index
    # 9..21 s overlaps (2, 3) = 10..20 most; 9.5..20 claims the same one; then 0..4.
    pred, mask = pad_spans([[(9.0, 21.0), (9.5, 20.0), (0.0, 4.0)]])
    order = rank_candidates(pred, mask, torch.tensor([30.0]).double())[0].tolist()
    assert order[:2] == [at((2, 3)), at((0, 0))]
    assert sorted(order) == list(range(21))
    # The unclaimed follow by IoU / rank: (1, 3) and (2, 4) tie at 11/16; the lower index first.
    assert order[2:4] == [at((1, 3)), at((2, 4))]


def test_candidates_end_with_the_video():
    # A video of 27 s: 20..27 is chunks 4 and 5 whole, although 7/10 < 5/7.
    pred, mask = pad_spans([[(20.0, 27.0)]])
    order = rank_candidates(pred, mask, torch.tensor([27.0]).double())
    assert CANDIDATES[order[0, 0]] == (4, 5)


def test_true_segments_from_seconds_also_when_cut_short():
    spans = torch.tensor([[0.0, 5.0], [20.0, 27.3], [10.000001, 14.999999], [25.0, 30.0]])
    found = [CANDIDATES[i] for i in segment_index(spans)]
    assert found == [(0, 0), (4, 5), (2, 2), (5, 5)]


def test_through_the_evaluator_with_floors():
    gt = [[5.0, 10.0]] * 4
    samples = [
        make_sample(0, gt=[gt], pred=[[[5, 10, 0.9], [0, 30, 0.3]]]),
        make_sample(1, gt=[gt], pred=[[]]),  # unanswered: a miss in all three
    ]
    evaluator = Evaluator(METRICS.build(dict(type='DiDeMoMetric')))
    evaluator.process(samples)
    result = evaluator.evaluate(2)
    assert {k: v for k, v in result.items() if '/' not in k} == {
        'Rank@1': 50.0, 'Rank@5': 50.0, 'mIoU': 50.0,
    }  # fmt: skip
    assert result['floor/prior/Rank@1'] == 100.0
    assert result['oracle/mIoU'] == 100.0


def test_wrong_options_say_what_is_allowed():
    with pytest.raises(ValueError, match='it takes only fit_on'):
        DiDeMoMetric(floors=dict(dataset=None))
