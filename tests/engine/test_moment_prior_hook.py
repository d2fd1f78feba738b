"""The hook fills the prior with training moments and weighs it on others."""

import math

import pytest
import torch

from demul_mm.engine.hooks import MomentPriorHook
from demul_mm.engine.hooks.moment_prior import HIGHEST, best_share
from demul_mm.models.heads.joint_score import VIDEO
from demul_mm.structures import span_iou
from tests.engine.test_length_memory_hook import runner_of
from tests.models.tiny import predictions_of, tiny_data, tiny_model

EVERYTHING = dict(nms=dict(type='MomentNMS', iou_thr=1.0, max_keep=1000))
PLACES = torch.tensor([[0.0, 0.3], [0.1, 0.2], [0.5, 0.9]])  # of Annotations


def test_training_moments_are_remembered_and_held_out_ones_weigh_them() -> None:
    model = tiny_model(prior=dict(type='MomentPrior', size=8))
    MomentPriorHook(iou_thr=0.1).before_val_epoch(runner_of(model, tiny_data()))
    torch.testing.assert_close(model.prior.spans[:3], PLACES)
    assert model.prior.share.tolist() == pytest.approx([1 / 3] * 3 + [0] * 5)
    assert 0 < float(model.prior.weight) <= HIGHEST


def test_the_rows_are_the_likelihoods_of_the_truth() -> None:
    model = tiny_model(prior=dict(type='MomentPrior', size=8))
    model.prior.fill(PLACES)
    data = tiny_data()
    rows = MomentPriorHook(iou_thr=0.3).rows(model, [data])
    found = predictions_of(tiny_model(test_cfg=EVERYTHING), data)
    moments = [each for sample in found for each in sample.pred_moments]
    truths = [(spans, s.duration) for s in data['data_samples'] for spans in s.gt_spans]
    for (model_says, places_say), each, (truth, duration) in zip(
        rows.values(), moments, truths, strict=True
    ):
        hit = span_iou(each.spans[:, None], truth[None]).amax(1) >= 0.3
        assert model_says == pytest.approx(float(each.joint.softmax(0)[hit].sum()), abs=1e-4)
        near = span_iou(PLACES[:, None] * duration, truth[None]).amax(1) >= 0.3
        assert places_say == pytest.approx(float(near.sum()) / 3, abs=1e-6)


def test_the_weight_is_the_likeliest() -> None:
    # A truth that the model gives p, and the places q: the best mixture by calculus.
    assert best_share([(0.8, 0.0), (0.0, 0.2)]) == pytest.approx(0.5, abs=1e-3)
    assert best_share([(0.8, 0.0)] * 9 + [(0.0, 0.2)]) == pytest.approx(0.1, abs=1e-3)
    assert best_share([(0.8, 0.1)]) == pytest.approx(0, abs=1e-3)
    assert best_share([(0.1, 0.8)]) == pytest.approx(HIGHEST, abs=1e-3)
    assert best_share([]) is None
    assert best_share([(0.0, 0.0)]) is None


def test_places_are_candidates_behind_those_that_were_found() -> None:
    data = tiny_data((16, 11), (1, 2))
    plain = predictions_of(tiny_model(test_cfg=EVERYTHING), data)
    model = tiny_model(prior=dict(type='MomentPrior', size=4), test_cfg=EVERYTHING)
    model.prior.fill(PLACES)
    model.prior.weight.fill_(0.25)
    for sample, before in zip(predictions_of(model, data), plain):
        for moments, old in zip(sample.pred_moments, before.pred_moments):
            total = old.joint.logsumexp(0)
            torch.testing.assert_close(moments.joint.logsumexp(0), total)
            places = torch.isclose(
                moments.joint, total + math.log(0.25 / 3), rtol=1e-4, atol=1e-4
            ) & (moments.terms[:, 0] == 0)
            order = moments.spans[places][:, 1].argsort()
            wanted = PLACES[PLACES[:, 1].argsort()] * sample.duration
            torch.testing.assert_close(moments.spans[places][order], wanted)
            terms = moments.terms[places]
            torch.testing.assert_close(terms[:, VIDEO], old.terms[:1, VIDEO].expand(3))
            assert terms.ne(0).sum() == terms[:, VIDEO].ne(0).sum()
            rest = moments.joint[~places].sort().values  # equal probabilities may change places
            torch.testing.assert_close(rest, (old.joint + math.log(0.75)).sort().values)


def test_places_are_shares_of_the_duration_not_of_the_clips() -> None:
    model = tiny_model(prior=dict(type='MomentPrior', size=4), test_cfg=EVERYTHING)
    model.prior.fill(torch.tensor([[0.25, 0.75]]))
    model.prior.weight.fill_(0.999)
    data = tiny_data((16,), (1,))
    (sample,) = data['data_samples']
    sample.set_metainfo(dict(extent=1.25 * sample.duration))
    (found,) = predictions_of(model, data)[0].pred_moments
    wanted = torch.tensor([0.25, 0.75]) * sample.duration
    torch.testing.assert_close(found.spans[found.joint.argmax()], wanted)


def test_nothing_is_done_without_a_prior() -> None:
    model = tiny_model()
    MomentPriorHook().before_val_epoch(runner_of(model, tiny_data()))
    assert model.prior is None
