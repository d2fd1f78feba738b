"""The temporal pyramid."""

import torch
from torch import nn

from demul_mm.models.necks import TemporalPyramid


class Untouched(nn.Module):
    """A block that does nothing."""

    def forward(self, x, mask):
        return x


def test_a_coarser_cell_is_the_mean_of_its_valid_clips():
    pyramid = TemporalPyramid(dim=4, num_levels=3, num_heads=1)
    pyramid.blocks = nn.ModuleList(Untouched() for _ in range(3))
    pyramid.norm = nn.Identity()
    x = torch.arange(8.0)[None, :, None].expand(1, 8, 4)
    mask = torch.arange(8)[None] < 7
    found, valid = pyramid(x * mask[..., None], mask)
    expected = [0, 1, 2, 3, 4, 5, 6, 0, 0.5, 2.5, 4.5, 6, 1.5, 5.25]
    assert found[0, :, 0].tolist() == expected
    assert valid[0].tolist() == [True] * 7 + [False] + [True] * 6


def test_masked_cells_are_zero():
    torch.manual_seed(0)
    mask = torch.arange(16)[None] < 5
    found, valid = TemporalPyramid(dim=8, num_levels=4, num_heads=2)(
        torch.randn(1, 16, 8) * mask[..., None], mask
    )
    assert not found[~valid].any()
    assert bool(found[valid].any(-1).all())
