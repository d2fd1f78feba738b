"""Mixing neighbours, and where a clip lies in its video."""

import math

import pytest
import torch
import torch.nn.functional as F

from demul_mm.models.layers import NeighbourMix, TemporalBlock, relative_position
from demul_mm.models.task_modules import PointGenerator


@pytest.mark.parametrize(('levels', 'length'), [(1, 1), (1, 7), (3, 4), (4, 24)])
def test_neighbour_mix_is_a_depthwise_convolution_of_each_level(levels: int, length: int):
    torch.manual_seed(0)
    points = PointGenerator(levels)(length)
    mix = NeighbourMix(5)
    torch.nn.init.normal_(mix.weight)
    x = torch.randn(2, len(points.centers), 5)
    kernel = mix.weight.T[:, None]  # (D, 1, 3): left neighbour, itself, right neighbour
    expected = [
        F.conv1d(part.transpose(1, 2), kernel, padding=1, groups=5).transpose(1, 2)
        for part in x.split(points.level_sizes, 1)
    ]
    torch.testing.assert_close(mix(x, points), torch.cat(expected, 1))


def test_neighbour_mix_is_the_identity_at_first():
    points = PointGenerator(3)(8)
    x = torch.randn(2, 14, 5)
    assert torch.equal(NeighbourMix(5)(x, points), x)


def test_relative_position_by_hand():
    found = relative_position(torch.tensor([4, 1]), 4, num_bands=2)
    assert found.shape == (2, 4, 4)
    # The second of four clips has its middle at 3/8 of the video.
    angle = 3 / 8 * math.pi
    expected = [math.sin(angle), math.sin(2 * angle), math.cos(angle), math.cos(2 * angle)]
    assert found[0, 1].tolist() == pytest.approx(expected, abs=1e-6)
    assert found[1, 0].tolist() == pytest.approx([1, 0, 0, -1], abs=1e-6)


def test_relative_position_does_not_depend_on_padding():
    clips = torch.tensor([5])
    assert torch.equal(relative_position(clips, 5), relative_position(clips, 40)[:, :5])


def test_a_block_keeps_masked_clips_at_zero_and_never_reads_them():
    torch.manual_seed(0)
    block = TemporalBlock(8, num_heads=2, radius=3).eval()
    mask = torch.arange(12)[None] < torch.tensor([[7]])
    x = torch.randn(1, 12, 8)
    clean = block(x * mask[..., None], mask)
    assert not clean[~mask].any()
    torch.testing.assert_close(block(x[:, :7], mask[:, :7]), clean[:, :7])
