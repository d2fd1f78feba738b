"""315 anchors that cover every width, and borders that start at them."""

import torch

from demul_mm.registry import MODELS
from projects.simbase.model import SimBase, pyramid_anchors
from tests.models.tiny import DIM, FEATURES, tiny_config


def test_anchors() -> None:
    anchors = pyramid_anchors(64, 5)
    assert anchors.shape == (315, 2)
    widths = anchors[:, 1].unique().log2()
    torch.testing.assert_close(widths.diff(), torch.full((29,), 0.2), atol=1e-4, rtol=0)
    assert (anchors[:, 0] > 0).all()
    assert (anchors[:, 0] < 1).all()
    assert anchors.unique(dim=0).shape == anchors.shape


def test_borders_start_at_the_anchors() -> None:
    config = tiny_config()
    model: SimBase = MODELS.build(
        dict(
            type='SimBase',
            language=config['language'],
            data_preprocessor=config['data_preprocessor'],
            streams=dict(visual=dict(in_dim=FEATURES)),
            text_dim=DIM,
            dim=8,
            num_clips=8,
        )
    )
    borders = model.borders(torch.zeros(1, 35, 2))[0]
    torch.testing.assert_close(borders.mean(-1), model.anchors[:, 0])
    torch.testing.assert_close(borders.diff(dim=-1)[:, 0], model.anchors[:, 1])
    moved = model.borders(torch.tensor([1.0, 0.0]).expand(1, 35, 2))[0]
    torch.testing.assert_close(moved - borders, model.anchors[:, 1:].expand(-1, 2))
