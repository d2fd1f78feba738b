"""What QD-DETR adds: anchors that move, and sentences of other videos that are wrong."""

import torch

from demul_mm.registry import MODELS
from projects.qd_detr.model import QDDETR, AnchorDecoderLayer, refine, sine_of_anchors
from tests.models.tiny import FEATURES, tiny_data


def build() -> QDDETR:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='QDDETR',
            language=dict(type='WordProjection', lm=dict(type='TinyTokens'), dim=16),
            streams=dict(visual=dict(in_dim=FEATURES)),
            dim=16,
            num_heads=2,
            data_preprocessor=dict(
                type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer')
            ),
        )
    )


def test_an_anchor_stays_without_a_change() -> None:
    anchors = torch.tensor([[0.2, 0.5], [0.9, 0.1]])
    torch.testing.assert_close(refine(anchors, torch.zeros(2, 2)), anchors)
    assert (refine(anchors, torch.ones(2, 2)) > anchors).all()
    assert refine(torch.tensor([0.0, 1.0]), torch.zeros(2)).isfinite().all()
    assert sine_of_anchors(anchors, 8).shape == (2, 16)


def test_moments_start_where_the_anchors_are() -> None:
    model = build().eval()
    data = model.data_preprocessor(tiny_data())
    out = model.run(model.make_batch(data['inputs'], data['data_samples']))
    start = model.anchors.sigmoid().expand_as(out.spans)
    torch.testing.assert_close(out.spans, start)


def test_negatives_are_of_other_videos() -> None:
    """All sentences of one video: none is wrong, and the loss is nothing."""
    model = build().eval()
    one = model.data_preprocessor(tiny_data(lengths=(13,), num_queries=(4,)))
    batch = model.make_batch(one['inputs'], one['data_samples'])
    assert model.negative_loss(batch).item() == 0
    three = model.data_preprocessor(tiny_data())
    batch = model.make_batch(three['inputs'], three['data_samples'])
    assert model.negative_loss(batch).item() > 0


def test_an_anchor_looks_at_content_and_at_place() -> None:
    """Either alone moves what is seen; padding does not."""
    torch.manual_seed(0)
    layer = AnchorDecoderLayer(16, 2, 32).eval()
    x, place, memory = torch.randn(1, 3, 16), torch.randn(1, 3, 16), torch.randn(1, 6, 16)
    position, mask = torch.randn(1, 6, 16), torch.arange(6)[None] < 5
    sine = torch.randn(1, 3, 16)
    seen = layer(x, place, sine, memory, mask, position)
    both = layer(x, place, sine, memory.roll(1, 1), mask.roll(1, 1), position.roll(1, 1))
    torch.testing.assert_close(both, seen)  # in another order, each clip with its place
    assert (layer(x, place, sine, memory, mask, position.roll(1, 1)) - seen).abs().max() > 1e-3
    assert (layer(x, place, sine.roll(1, 1), memory, mask, position) - seen).abs().max() > 1e-3
    padded = torch.where(mask[..., None], memory, 9.0)
    torch.testing.assert_close(layer(x, place, sine, padded, mask, position), seen)
