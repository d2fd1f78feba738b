"""The multi-scale test: a video at several time scales, merged by voting."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from demul_mm.models.localizers import DeMUL, MomentTTAModel
from demul_mm.registry import MODELS, TRANSFORMS
from demul_mm.structures import MomentDataSample
from tests.models.tiny import predictions_of, tiny_config, tiny_data, tiny_model

CLOSE = dict(rtol=1e-5, atol=1e-5)
LENGTHS, QUERIES = (13, 8, 20), (2, 1, 2)


def tta_of(trained: DeMUL, nms: dict | None = None, **options) -> MomentTTAModel:
    """The trained model for several scales, with this suppression."""
    config = tiny_config(test_cfg=dict(nms=nms or dict(type='MomentNMS')))
    model = MODELS.build(dict(type='MomentTTAModel', module=config, **options)).eval()
    model.module.load_state_dict(trained.state_dict())
    return model


def at_scales(data: dict, *scales: float) -> dict:
    """A collated batch as it comes from ``TestTimeAug``."""
    with DefaultScope.overwrite_default_scope('demul_mm'):
        pipeline = TRANSFORMS.build(
            dict(
                type='TestTimeAug',
                transforms=[
                    [dict(type='ResampleClips', num_clips=None, scale=s) for s in scales],
                    [dict(type='PackMomentInputs')],
                ],
            )
        )
    items = []
    for rows, sample in zip(data['inputs']['visual'], data['data_samples']):
        results = dict(
            video_id=sample.video_id,
            duration=sample.duration,
            extent=sample.duration,
            queries=sample.queries,
            query_ids=[f'{sample.video_id}#{q}' for q in range(len(sample.queries))],
            gt_spans=[span.numpy() for span in sample.gt_spans],
            streams={'visual': rows.numpy()},
        )
        items.append(pipeline(results))
    return pseudo_collate(items)


def assert_same(one: list[MomentDataSample], two: list[MomentDataSample]) -> None:
    for a, b in zip(one, two, strict=True):
        for x, y in zip(a.pred_moments, b.pred_moments, strict=True):
            for key in ('spans', 'scores', 'terms'):
                torch.testing.assert_close(x[key], y[key], **CLOSE)


@pytest.mark.parametrize('vote_iou', [None, 0.6])
@pytest.mark.parametrize('scales', [(1.0,), (1.0, 1.0, 1.0)])
def test_identical_scales_are_the_plain_test(trained, vote_iou, scales):
    nms = dict(type='MomentNMS', iou_thr=0.5, max_keep=5, vote_iou=vote_iou)
    plain = tiny_model(test_cfg=dict(nms=nms))
    plain.load_state_dict(trained.state_dict())
    data = tiny_data(LENGTHS, QUERIES)
    model = tta_of(trained, nms, vote_iou=vote_iou)
    found = model.test_step(at_scales(data, *scales))
    assert_same(found, predictions_of(plain, data))
    assert [s.video_id for s in found] == ['v0', 'v1', 'v2']
    assert all(len(s.pred_moments) == n for s, n in zip(found, QUERIES))


def test_expected_recall_merges_scales(trained):
    nms = dict(type='ExpectedRecall', max_keep=5)
    plain = tiny_model(test_cfg=dict(nms=nms))
    plain.load_state_dict(trained.state_dict())
    data, model = tiny_data(LENGTHS, QUERIES), tta_of(trained, nms, num_candidates=200)
    expected = predictions_of(plain, data)
    assert_same(model.test_step(at_scales(data, 1.0)), expected)
    for one, two in zip(model.test_step(at_scales(data, 1.0, 1.0)), expected, strict=True):
        for x, y in zip(one.pred_moments, two.pred_moments, strict=True):
            torch.testing.assert_close(x.spans, y.spans, **CLOSE)
            # Each candidate is there twice, so each moment has twice the expected recall.
            torch.testing.assert_close(x.joint, y.joint + math.log(2), rtol=1e-4, atol=1e-4)


def test_a_batch_is_its_videos_one_by_one(trained):
    data, model = tiny_data(LENGTHS, QUERIES), tta_of(trained)
    together = model.test_step(at_scales(data, 1.0, 0.5, 2.0))
    for v, sample in enumerate(together):
        inputs = {'visual': [data['inputs']['visual'][v]]}
        one = dict(inputs=inputs, data_samples=[data['data_samples'][v]])
        (alone,) = model.test_step(at_scales(one, 1.0, 0.5, 2.0))
        for x, y in zip(sample.pred_moments, alone.pred_moments, strict=True):
            torch.testing.assert_close(x.scores, y.scores, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(x.spans, y.spans, rtol=1e-4, atol=1e-3)


def iou(one: np.ndarray, two: np.ndarray) -> float:
    inter = max(0.0, min(one[1], two[1]) - max(one[0], two[0]))
    union = max(one[1], two[1]) - min(one[0], two[0])
    return inter / union if union > 0 else 0.0


def slow_merge(
    spans: np.ndarray, scores: np.ndarray, iou_thr: float, keep: int, vote: float
) -> tuple[list, list]:
    """Greedy suppression of all scales' moments and the vote on each that stays."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if len(kept) < keep and all(iou(spans[i], spans[k]) <= iou_thr for k in kept):
            kept.append(i)
    places = []
    for k in kept:
        weight = [
            scores[i] * iou(spans[i], spans[k]) * (iou(spans[i], spans[k]) >= vote)
            for i in range(len(scores))
        ]
        places.append(np.average(spans, axis=0, weights=weight))
    return places, [scores[k] for k in kept]


def test_scales_are_merged_as_a_slow_reference_does(trained):
    data = tiny_data(LENGTHS, QUERIES)
    model = tta_of(trained, vote_iou=0.6)
    batch = at_scales(data, 1.0, 0.5, 1.7)
    found = model.test_step(copy.deepcopy(batch))
    scales = [
        model.module.test_step(dict(inputs=inputs, data_samples=samples))
        for inputs, samples in zip(batch['inputs'], batch['data_samples'])
    ]
    counts = [len(scale[2].pred_moments[0].spans) for scale in scales]
    assert min(counts) > 10  # before any suppression
    for v, sample in enumerate(found):
        for q, moments in enumerate(sample.pred_moments):
            parts = [scale[v].pred_moments[q] for scale in scales]
            spans = np.concatenate([p.spans.numpy() for p in parts]).astype(np.float64)
            scores = np.concatenate([p.scores.numpy() for p in parts]).astype(np.float64)
            wanted, wanted_scores = slow_merge(spans, scores, 0.5, 5, 0.6)
            np.testing.assert_allclose(moments.scores, wanted_scores, rtol=1e-5)
            np.testing.assert_allclose(moments.spans, wanted, atol=1e-3)


def test_a_moment_that_one_scale_alone_found_is_there():
    model = tta_of(tiny_model(), vote_iou=0.7)
    coarse = InstanceData(spans=torch.tensor([[0.0, 10.0]]), scores=torch.tensor([0.6]))
    fine = InstanceData(
        spans=torch.tensor([[0.0, 9.0], [20.0, 21.0]]),
        scores=torch.tensor([0.8, 0.7]),
        terms=torch.ones(2, 5),
    )
    merged = model.merge_moments([coarse, fine])
    torch.testing.assert_close(merged.scores, torch.tensor([0.8, 0.7]))
    vote = (0.8 * 9 + 0.6 * 0.9 * 10) / (0.8 + 0.6 * 0.9)
    torch.testing.assert_close(merged.spans, torch.tensor([[0.0, vote], [20.0, 21.0]]))
    assert 'terms' not in merged  # the first scale does not have them
    empty = InstanceData(spans=torch.zeros(0, 2), scores=torch.zeros(0))
    assert len(model.merge_moments([empty, empty]).scores) == 0
    assert len(model.merge_moments([empty, coarse]).scores) == 1


def test_soft_suppression_merges_as_well(trained):
    model = tta_of(trained, dict(type='SoftNMS', max_keep=5), vote_iou=None)
    for sample in model.test_step(at_scales(tiny_data(LENGTHS, QUERIES), 1.0, 0.5)):
        for moments in sample.pred_moments:
            assert 0 < len(moments.scores) <= 5
            assert bool((moments.scores.diff() <= 0).all())


def test_videos_without_a_query():
    found = tta_of(tiny_model()).test_step(at_scales(tiny_data((9, 8), (0, 0)), 1.0, 0.5))
    assert [len(sample.pred_moments) for sample in found] == [0, 0]


def test_wrong_options_are_named(trained):
    with pytest.raises(TypeError, match='give the config of the localizer'):
        MomentTTAModel(trained)
    with pytest.raises(ValueError, match='num_candidates=0'):
        MomentTTAModel(tiny_config(), num_candidates=0)
    config = tiny_config()
    MomentTTAModel(config)
    assert config == tiny_config()  # what was given stays as it was


def test_a_vote_stays_inside_the_video():
    model = tta_of(tiny_model(), vote_iou=0.5)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        spans = torch.stack([torch.rand(7, generator=rng), torch.full((7,), 24.0)], -1)
        one = InstanceData(spans=spans, scores=torch.rand(7, generator=rng))
        assert bool((model.merge_moments([one, one]).spans <= 24.0).all())
