"""Predictions and losses do not depend on who else is in the batch."""

import pytest
import torch
from torch import Tensor

from demul_mm.models.localizers import DeMUL
from demul_mm.structures import MomentDataSample
from tests.models.tiny import losses_of, only, predictions_of, tiny_data, tiny_model

CLOSE = dict(rtol=1e-4, atol=1e-4)


def assert_same_moments(one: MomentDataSample, two: MomentDataSample) -> None:
    assert len(one.pred_moments) == len(two.pred_moments) == len(one.queries)
    for a, b in zip(one.pred_moments, two.pred_moments):
        torch.testing.assert_close(a.spans, b.spans, **CLOSE)
        torch.testing.assert_close(a.scores, b.scores, **CLOSE)
        torch.testing.assert_close(a.terms, b.terms, **CLOSE)


def test_predictions_of_a_batch_are_those_of_each_video(trained: DeMUL):
    data = tiny_data((13, 8, 20), (2, 1, 2))
    together = predictions_of(trained, data)
    for v, sample in enumerate(together):
        assert_same_moments(sample, predictions_of(trained, only(data, v))[0])


def test_order_of_the_videos_does_not_matter(trained: DeMUL):
    data = tiny_data((13, 8, 20), (2, 1, 2))
    forward, backward = predictions_of(trained, data), predictions_of(trained, only(data, 2, 1, 0))
    for one, two in zip(forward, reversed(backward)):
        assert_same_moments(one, two)


def test_chunks_of_pairs_change_nothing(trained: DeMUL):
    """A long video with many queries is fused in chunks that fit in memory."""
    data = tiny_data((13, 8, 20), (4, 5, 3))
    whole = predictions_of(trained, data)
    budget = trained.max_pair_points
    try:
        for trained.max_pair_points in (1, 100, 250):
            for one, two in zip(whole, predictions_of(trained, data)):
                assert_same_moments(one, two)
    finally:
        trained.max_pair_points = budget


def test_videos_without_a_query_are_predicted_without_a_moment(trained: DeMUL):
    found = predictions_of(trained, tiny_data((13, 8, 20), (0, 3, 0)))
    assert [len(sample.pred_moments) for sample in found] == [0, 3, 0]
    found = predictions_of(trained, tiny_data((13, 8), (0, 0)))
    assert [len(sample.pred_moments) for sample in found] == [0, 0]


def test_moments_are_sorted_and_inside_the_video(trained: DeMUL):
    for sample in predictions_of(trained, tiny_data((1, 2, 20), (2, 2, 2))):
        for moments in sample.pred_moments:
            assert 1 <= len(moments.scores) <= 5
            assert bool((moments.scores.diff() <= 0).all())
            assert bool(((moments.scores > 0) & (moments.scores < 1)).all())
            start, end = moments.spans.unbind(-1)
            assert bool(((start >= 0) & (start <= end) & (end <= sample.duration)).all())


def test_extent_scales_the_spans_and_the_duration_limits_them(trained: DeMUL):
    data = tiny_data((20,), (1,))
    plain = predictions_of(trained, data)[0].pred_moments[0].spans
    sample = data['data_samples'][0]
    sample.set_metainfo(dict(extent=2 * sample.duration))
    longer = predictions_of(trained, data)[0].pred_moments[0].spans
    torch.testing.assert_close(longer, (2 * plain).clamp(max=sample.duration))


def pair_losses(model: DeMUL, data: dict) -> dict[str, Tensor]:
    """Those losses that look at one query and its own video alone."""
    losses = losses_of(model, data)
    names = ('proposal', 'phrases', 'semantic', 'span', 'quality', 'stages', 'boundary', 'inside')
    names += ('joint',)
    return {name: losses[f'loss_{name}'].detach() for name in names}


@pytest.fixture(scope='module')
def pairwise() -> DeMUL:
    """No rivals and no memory: each query meets its own video."""
    model = tiny_model(memory=None, train_cfg=dict(num_negatives=0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def test_padding_changes_no_loss(pairwise: DeMUL):
    """A video padded to three times its clips has the losses it has alone."""
    data = tiny_data((6,), (2,))
    alone = losses_of(pairwise, data)
    ready = pairwise.data_preprocessor(data)
    x, mask = ready['inputs']['streams']['visual']
    pad = torch.nn.functional.pad
    ready['inputs']['streams']['visual'] = (pad(x, (0, 0, 0, 16)), pad(mask, (0, 16)))
    padded = pairwise.loss(ready['inputs'], ready['data_samples'])
    assert alone.keys() == padded.keys()
    for name, value in alone.items():
        torch.testing.assert_close(padded[name], value, **CLOSE, msg=name)


def test_losses_of_a_repeated_video_are_those_of_one(pairwise: DeMUL):
    """Means, not sums: no loss of a pair grows with the batch."""
    data = tiny_data((13,), (2,))
    one, two = pair_losses(pairwise, data), pair_losses(pairwise, only(data, 0, 0))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, **CLOSE, msg=name)


def test_losses_with_their_own_mean_add_up_over_videos(pairwise: DeMUL):
    """Orthogonality of phrases and the listwise loss are means over queries."""
    data = tiny_data((13, 20), (2, 1))
    both = pair_losses(pairwise, data)
    parts = [pair_losses(pairwise, only(data, v)) for v in (0, 1)]
    for name in ('phrases', 'boundary'):
        expected = (2 * parts[0][name] + parts[1][name]) / 3
        torch.testing.assert_close(both[name], expected, **CLOSE, msg=name)


def test_a_batch_without_any_query_cannot_be_trained_on(trained: DeMUL):
    with pytest.raises(ValueError, match='no query'):
        losses_of(trained, tiny_data((5,), (0,)))


@pytest.mark.parametrize('part', ['train_cfg', 'test_cfg'])
def test_a_misspelt_option_is_refused(part: str):
    with pytest.raises(ValueError, match=rf'{part} has no option .max_pairs.; allowed: '):
        tiny_model(**{part: dict(max_pairs=3)})


def test_modes(trained: DeMUL):
    data = trained.data_preprocessor(tiny_data((8,), (1,)))
    with torch.no_grad():
        assert trained(data['inputs'], mode='tensor').mask.shape == (1, 15)
    with pytest.raises(ValueError, match="'loss', 'predict', 'tensor'"):
        trained(data['inputs'], data['data_samples'], mode='test')
