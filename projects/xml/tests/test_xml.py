"""What XML keeps to: videos never see a query, and all moments are compared."""

import pytest
import torch

from demul_mm.registry import MODELS
from projects.xml.model import XML
from tests.models.tiny import FEATURES, tiny_data


def tiny_xml(**options: dict) -> XML:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='XML',
            language=dict(type='WordProjection', lm=dict(type='TinyTokens'), dim=16),
            streams=dict(visual=dict(in_dim=FEATURES)),
            dim=16,
            max_clips=4,
            data_preprocessor=dict(
                type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer')
            ),
            **options,
        )
    ).eval()


@pytest.fixture
def model() -> XML:
    return tiny_xml()


def test_moments_equal_a_slow_search(model: XML) -> None:
    rng = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 1, 7, generator=rng)
    mask = torch.arange(7)[None] < 5
    start, end = start.masked_fill(~mask, -1e4), end.masked_fill(~mask, -1e4)
    spans, scores, valid = model.moments(start, end, mask)
    slow = {
        (i / 5, (j + 1) / 5): float(start.log_softmax(-1)[0, i] + end.log_softmax(-1)[0, j])
        for i in range(5)
        for j in range(i, min(i + 4, 5))
    }
    found = {tuple(s.tolist()): float(v) for s, v in zip(spans[0][valid[0]], scores[0][valid[0]])}
    assert len(found) == len(slow) == 14
    for (a, b), value in slow.items():
        near = min(found, key=lambda key: abs(key[0] - a) + abs(key[1] - b))
        assert near == pytest.approx((a, b))
        assert found[near] == pytest.approx(value, abs=1e-4)


def test_own_likeness_is_that_of_the_corpus(model: XML) -> None:
    data = model.data_preprocessor(tiny_data())
    batch = model.make_batch(data['inputs'], data['data_samples'])
    out = model.run(batch)
    videos, query = model.encode_clips(batch.clips, batch.mask), model.encode_words(batch.text)
    torch.testing.assert_close(out.near, model.likeness(query, videos))
    own = out.near.gather(1, batch.owner[:, None]).squeeze(1)
    alike = out.alike.masked_fill(~batch.mask[batch.owner], -1).amax(1)
    torch.testing.assert_close(own, alike)


def test_the_hinge_is_nothing_when_the_right_pairs_win(model: XML) -> None:
    owner = torch.tensor([0, 0, 1])
    own = owner[:, None] == torch.arange(2)
    assert model.hinge_loss(own.float(), owner, own).item() == 0
    assert model.hinge_loss(torch.zeros(3, 2), owner, own).item() == pytest.approx(0.2)


def test_contrasts_stand_beside_the_hinge(model: XML) -> None:
    contrast = dict(type='MultiPositiveInfoNCE')
    losses = []
    for one in (model, tiny_xml(contrast=contrast, clip_contrast=contrast)):
        torch.manual_seed(1)
        losses.append(one(**one.data_preprocessor(tiny_data()), mode='loss'))
    assert losses[0].keys() == {'loss_border', 'loss_hinge'}
    assert losses[1].keys() - losses[0].keys() == {'loss_video', 'loss_query', 'loss_clip'}
    for name, loss in losses[0].items():
        torch.testing.assert_close(losses[1][name], loss)
