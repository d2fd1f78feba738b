"""MMAction2's DRN behind this project's frame says what it says by itself."""

import pytest
import torch

from demul_mm.models.localizers.own_video import OwnVideoBatch
from demul_mm.registry import MODELS
from projects.drn.model import CLIPS, GroundedDRN
from tests.adapters.drn import needs_drn
from tests.models.tiny import FEATURES, tiny_data

pytestmark = needs_drn


@pytest.fixture
def model() -> GroundedDRN:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='GroundedDRN',
            language=dict(type='LanguageEncoder', lm=dict(type='TinyTokens'), dim=16, dropout=0.0),
            streams=dict(visual=dict(in_dim=FEATURES)),
            text_dim=16,
            data_preprocessor=dict(
                type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer')
            ),
        )
    ).eval()


def batch_of(model: GroundedDRN) -> OwnVideoBatch:
    data = model.data_preprocessor(tiny_data())
    return model.make_batch(data['inputs'], data['data_samples'])


def test_moments_are_those_of_its_own_selection(model: GroundedDRN) -> None:
    """DRN's selector clips at 32 a level and drops low scores; here none is dropped."""
    batch = batch_of(model)
    selector = model.drn.fcos.box_selector_test
    selector.pre_nms_thresh, selector.pre_nms_top_n = 0.0, CLIPS
    with torch.no_grad():
        out = model.run(batch)
        out = out._replace(logits=torch.randn(out.logits.shape))
        levels = [field.split(model.sizes, -1) for field in out]
        theirs = selector(model.centers.split(model.sizes), *levels)
        spans, scores, _ = model.predict_by_feat(out, batch)
    assert len(theirs) == len(spans) == 5
    for q, found in enumerate(theirs):
        torch.testing.assert_close(found['detections'], spans[q])
        torch.testing.assert_close(found['scores'], scores[q])


def test_one_query_costs_what_it_costs_twice(model: GroundedDRN) -> None:
    batch = batch_of(model)
    with torch.no_grad():
        out = model.run(batch)
    spans, mask = torch.tensor([[0.2, 0.7]]), torch.ones(2, 1, dtype=torch.bool)
    one = type(out)(*(field[:1] for field in out))
    two = type(out)(*(field[:1].expand(2, -1, -1) for field in out))
    alone = model.loss_by_feat(one, batch, spans[:, None], mask[:1])
    twice = model.loss_by_feat(two, batch, spans[:, None].expand(2, -1, -1), mask)
    for name, loss in alone.items():
        torch.testing.assert_close(loss, twice[name])


def test_a_perfect_distance_costs_nothing(model: GroundedDRN) -> None:
    batch = batch_of(model)
    with torch.no_grad():
        out = model.run(batch)
    truth = torch.tensor([0.25, 0.75])
    low, high = model.centers - truth[0] * CLIPS, truth[1] * CLIPS - model.centers
    right = torch.stack([low, high]).expand(5, -1, -1)
    inside = (right > 0).all(1)[0]
    out = out._replace(distance=right.clamp(min=0))
    losses = model.loss_by_feat(
        out, batch, truth.expand(5, 1, 2), torch.ones(5, 1, dtype=torch.bool)
    )
    assert losses['loss_place'].item() == pytest.approx(0.0, abs=1e-5)
    spans, _, _ = model.predict_by_feat(out, batch)
    torch.testing.assert_close(spans[:, inside], truth.expand(5, int(inside.sum()), 2))


def test_gaps_among_the_words_are_refused() -> None:
    with pytest.raises(ValueError, match='word_drop'):
        MODELS.build(
            dict(
                type='GroundedDRN',
                language=dict(
                    type='LanguageEncoder', lm=dict(type='TinyTokens'), dim=16, word_drop=0.1
                ),
                streams=dict(visual=dict(in_dim=FEATURES)),
                data_preprocessor=dict(
                    type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer')
                ),
            )
        )
