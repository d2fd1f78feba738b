"""SnAG's cells answer for the moments of their own range, and fusion leaves no trace at zero."""

import torch

from demul_mm.models.task_modules import PointGenerator
from projects.snag.model import LateFusion, PyramidHead, assign_in_range


def test_every_length_has_its_level() -> None:
    points = PointGenerator(4)(32)
    mask = torch.ones(1, 60, dtype=torch.bool)
    known = torch.ones(1, 1, dtype=torch.bool)
    levels = []
    for length in (2.0, 6.0, 12.0, 30.0):
        span = torch.tensor([[[16 - length / 2, 16 + length / 2]]])
        positive, own = assign_in_range(points, mask, span, known, radius=1.5, reach=4.0)
        assert positive.any()
        cells = positive[0].nonzero().squeeze(1)
        assert (own[0, cells] == span[0]).all()
        center, stride = points.centers[cells], points.strides[cells]
        assert ((center - 16).abs() <= 1.5 * stride).all()
        levels.append(int(points.levels[cells].max()))
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[-1] == 3


def test_the_shorter_of_two_moments_is_taken() -> None:
    points = PointGenerator(1)(8)
    spans = torch.tensor([[[0.0, 8.0], [3.0, 5.0]]])
    both = torch.ones(1, 2, dtype=torch.bool)
    _, own = assign_in_range(points, torch.ones(1, 8).bool(), spans, both, 1.5, 4.0)
    assert own[0, 3].tolist() == [3.0, 5.0]
    positive, _ = assign_in_range(points, torch.ones(1, 8).bool(), spans, both & False, 1.5, 4.0)
    assert not positive.any()


def test_levels_do_not_touch_and_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    head = PyramidHead(4, 2)
    x, mask = torch.randn(1, 12, 4), torch.ones(1, 12, dtype=torch.bool)
    mask[0, 6:8] = False
    before = head(x, mask, [8, 4])
    changed = x.clone()
    changed[0, 6:8] = 100  # masked
    changed[0, 8:] += 1  # the other level
    torch.testing.assert_close(head(changed, mask, [8, 4])[0, :6], before[0, :6])


def test_masked_words_are_not_read() -> None:
    torch.manual_seed(0)
    fusion = LateFusion(8).eval()
    x, words = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    before = fusion(x, words, mask)
    words[0, 2] = 50
    torch.testing.assert_close(fusion(x, words, mask), before)
