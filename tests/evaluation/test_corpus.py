"""The corpus protocol: hand-computed values and a slow reference."""

import random

import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from demul_mm.evaluation.metrics import CorpusMomentMetric
from demul_mm.registry import METRICS
from tests.evaluation.helpers import make_sample


def _slow(answers, entries, topk, ious, max_pred=100):
    """Query by query, in single precision."""

    def iou(row, gt):
        s, e, gs, ge = (np.float32(x) for x in (*row[1:3], *gt))
        hull = max(e, ge) - min(s, gs)
        inter = max(np.float32(0), min(e, ge) - max(s, gs))
        return inter / hull if hull else np.float32(0)

    hits: dict[str, int] = {}
    for entry in entries:
        rows = answers[entry['query_id']][:max_pred]
        videos = []
        for row in rows:
            if row[0] not in videos:
                videos.append(row[0])
        own = [row for row in rows if row[0] == entry['video_id']]
        need = 2 if len(entry['gt']) >= 4 else 1
        for k in topk:
            key = f'VR/R@{k}'
            hits[key] = hits.get(key, 0) + (entry['video_id'] in videos[:k])
            for m in ious:
                for task, part in (('SVMR', own[:k]), ('VCMR', rows[:k])):
                    right = any(
                        row[0] == entry['video_id']
                        and sum(iou(row, gt) >= np.float32(m) for gt in entry['gt']) >= need
                        for row in part
                    )
                    key = f'{task}/R@{k},IoU={m}'
                    hits[key] = hits.get(key, 0) + right
    return {key: 100 * count / len(entries) for key, count in hits.items()}


def _random_corpus(num: int, seed: int):
    rng = random.Random(seed)

    def span():
        start, end = sorted(rng.sample(range(11), 2))
        return [start, end]

    entries = [
        dict(query_id=f'q{i}', video_id=f'v{rng.randint(0, 5)}', duration=10.0,
             gt=[span() for _ in range(rng.choice([1, 1, 4]))], pred=[])
        for i in range(num)
    ]  # fmt: skip
    answers = {
        entry['query_id']: [
            [f'v{rng.randint(0, 5)}', *span(), 0.5] for _ in range(rng.randint(0, 25))
        ]
        for entry in entries
    }
    return answers, entries


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('max_pred', [100, 8])
def test_equals_the_slow_reference(seed, max_pred):
    answers, entries = _random_corpus(150, seed)
    topk, ious = (1, 5, 10), (0.5, 0.7)
    fast = CorpusMomentMetric.calculate(answers, entries, topk=topk, ious=ious, max_pred=max_pred)
    assert fast == pytest.approx(_slow(answers, entries, topk, ious, max_pred), abs=1e-9)


def test_hand_computed():
    entries = [dict(query_id='q', video_id='a', gt=[[0.0, 10.0]], duration=30.0, pred=[])]
    rows = [
        ['b', 0, 10, 0.9],  # the right moment of the wrong video
        ['b', 5, 15, 0.8],
        ['a', 20, 30, 0.7],  # the right video, the wrong moment
        ['a', 0, 5, 0.6],  # IoU 0.5: passes .5, not .7
    ]
    result = CorpusMomentMetric.calculate({'q': rows}, entries, topk=(1, 2, 4), ious=(0.5, 0.7))
    assert result['VR/R@1'] == 0
    assert result['VR/R@2'] == 100  # 'a' is the second distinct video
    assert result['VCMR/R@2,IoU=0.5'] == 0
    assert result['VCMR/R@4,IoU=0.5'] == 100
    assert result['VCMR/R@4,IoU=0.7'] == 0
    assert result['SVMR/R@1,IoU=0.5'] == 0
    assert result['SVMR/R@2,IoU=0.5'] == 100


def test_two_annotators_must_agree_where_there_are_four():
    gt = [[0.0, 10.0], [20.0, 30.0], [20.0, 30.0], [20.0, 30.0]]
    entries = [dict(query_id='q', video_id='a', gt=gt, duration=30.0, pred=[])]
    once, thrice = {'q': [['a', 0, 10, 1.0]]}, {'q': [['a', 20, 30, 1.0]]}
    key = 'VCMR/R@1,IoU=0.7'
    assert CorpusMomentMetric.calculate(once, entries)[key] == 0
    assert CorpusMomentMetric.calculate(once, entries, min_agree=1)[key] == 100
    assert CorpusMomentMetric.calculate(thrice, entries)[key] == 100


@pytest.mark.parametrize(('float32', 'hit'), [(True, 100), (False, 0)])
def test_the_precision_of_the_script_decides_a_tie(float32, hit):
    # The IoU is .5; in float64 it comes out below, in float32 above.
    truth = dict(query_id='q', video_id='a', gt=[[32.4, 48.9]])
    rows = {'q': [['a', 36.2, 57.8, 1.0]]}
    options = dict(topk=(1,), ious=(0.5,), float32=float32)
    assert CorpusMomentMetric.calculate(rows, [truth], **options)['VCMR/R@1,IoU=0.5'] == hit


def test_every_query_must_be_answered_and_no_other():
    entries = [dict(query_id=q, video_id='a', gt=[[0, 1]], duration=9.0, pred=[]) for q in 'xy']
    with pytest.raises(ValueError, match=r"1 of 2 queries have no corpus predictions .*'y'"):
        CorpusMomentMetric.calculate({'x': []}, entries)
    with pytest.raises(ValueError, match=r"1 answers belong to no query .*'z'"):
        CorpusMomentMetric.calculate({'x': [], 'y': [], 'z': []}, entries)
    empty = CorpusMomentMetric.calculate({'x': [], 'y': []}, entries)
    assert set(empty.values()) == {0.0}


def test_through_the_evaluator_with_floors():
    samples = [
        make_sample(0, gt=[[[0, 10]], [[0, 10]]], pred=[[], []],
                    corpus=[[['v0', 0.0, 10.0, 0.9]], [['v1', 0.0, 10.0, 0.9]]]),
        make_sample(1, gt=[[[20, 30]]], pred=[[]], corpus=[[['v1', 20.0, 30.0, 0.9]]]),
    ]  # fmt: skip
    cfg = dict(type='CorpusMomentMetric', topk=(1, 2), ious=(0.5,))
    evaluator = Evaluator(METRICS.build(cfg))
    evaluator.process(samples)
    result = evaluator.evaluate(2)
    assert result['VR/R@1'] == pytest.approx(200 / 3)
    assert result['VCMR/R@1,IoU=0.5'] == pytest.approx(200 / 3)
    # v0 has the most queries; the best constant window fits its two, not the third.
    assert result['floor/frequent_videos/VR/R@1'] == pytest.approx(200 / 3)
    assert result['floor/frequent_videos/VR/R@2'] == 100
    assert result['floor/frequent_videos/VCMR/R@1,IoU=0.5'] == pytest.approx(200 / 3)
    assert result['floor/constant_window/SVMR/R@1,IoU=0.5'] == pytest.approx(200 / 3)


def test_a_sample_without_corpus_predictions_is_an_error():
    evaluator = Evaluator(METRICS.build(dict(type='CorpusMomentMetric')))
    evaluator.process([make_sample(0, gt=[[[0, 10]]], pred=[[]])])
    with pytest.raises(ValueError, match='have no corpus predictions'):
        evaluator.evaluate(1)


def test_lists_of_their_own_for_videos_and_for_the_right_video():
    """VR counts ``videos`` and SVMR ``pred`` where they are given; VCMR the rows alone."""
    rows = [['v1', 0.0, 10.0, 0.9], ['v1', 5.0, 15.0, 0.8]]
    entry = dict(query_id='q', video_id='v0', duration=30.0, gt=[[0.0, 10.0]], corpus=rows)
    metric = CorpusMomentMetric(topk=(1, 2), ious=(0.5,), floors=False)
    without = metric.compute_entries([dict(entry, pred=[])])
    assert set(without.values()) == {0.0}
    moments = [[20.0, 30.0, 0.7], [0.0, 9.0, 0.6]]
    both = metric.compute_entries([dict(entry, pred=moments, videos=['v1', 'v0'])])
    assert (both['VR/R@1'], both['VR/R@2']) == (0.0, 100.0)
    assert (both['SVMR/R@1,IoU=0.5'], both['SVMR/R@2,IoU=0.5']) == (0.0, 100.0)
    assert both['VCMR/R@2,IoU=0.5'] == 0.0
