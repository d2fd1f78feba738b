"""The model can learn."""

import pytest
import torch

from demul_mm.structures import span_iou
from tests.models.tiny import predictions_of, tiny_data, tiny_model, train_steps


@pytest.mark.slow
@pytest.mark.parametrize('streams', [('visual',), ('visual', 'subtitle')])
def test_one_batch_is_learnt_by_heart(streams: tuple[str, ...]):
    model, data = tiny_model(streams), tiny_data((13, 16, 20), (2, 1, 2), streams)
    totals = train_steps(model, data, 40)
    assert totals[-1] < totals[0] / 3
    # Not only at the end: it goes down all the way.
    quarters = torch.tensor(totals).view(4, 10).mean(1)
    assert bool((quarters.diff() < 0).all())
    ious, scores = [], []
    for sample in predictions_of(model, data):
        for moments, truth in zip(sample.pred_moments, sample.gt_spans):
            ious.append(span_iou(moments.spans[0], truth[0]))
            scores.append(moments.scores[0])
    assert torch.stack(ious).mean() > 0.7
    assert torch.stack(scores).mean() > 0.5


def test_without_fusion_it_learns_too():
    totals = train_steps(tiny_model(neck=None), tiny_data(), 25)
    assert totals[-1] < totals[0] / 2


def test_the_same_seed_gives_the_same_losses_to_the_last_bit():
    one, two = (train_steps(tiny_model(seed=3), tiny_data(), 4) for _ in range(2))
    assert one == two
    assert train_steps(tiny_model(seed=4), tiny_data(), 1)[0] != one[0]
