"""The geometry of the pyramid."""

import pytest
import torch

from demul_mm.models.necks import TemporalPyramid
from demul_mm.models.task_modules import PointGenerator


def test_cells_by_hand():
    points = PointGenerator(3)(4)
    assert points.level_sizes == (4, 2, 1)
    assert points.centers.tolist() == [0.5, 1.5, 2.5, 3.5, 1, 3, 2]
    assert points.strides.tolist() == [1, 1, 1, 1, 2, 2, 4]
    assert points.levels.tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert points.has_left.tolist() == [False, True, True, True, False, True, False]
    assert points.has_right.tolist() == [True, True, True, False, True, False, False]
    assert points.cell_spans().tolist()[3:6] == [[3, 4], [0, 2], [2, 4]]


def test_each_level_tiles_the_clip_axis():
    points = PointGenerator(4)(24)
    for level in range(4):
        spans = points.cell_spans()[points.levels == level]
        assert spans[0, 0] == 0
        assert spans[-1, 1] == 24
        assert torch.equal(spans[1:, 0], spans[:-1, 1])


@pytest.mark.parametrize('clips', [1, 2, 5, 8, 15, 16])
def test_the_pyramid_and_the_points_agree_on_what_is_valid(clips: int):
    mask = torch.arange(16)[None] < clips
    _, valid = TemporalPyramid(dim=4, num_levels=4, num_heads=1)(torch.randn(1, 16, 4), mask)
    assert torch.equal(valid, PointGenerator(4)(16).valid(torch.tensor([clips])))


def test_place_is_a_share_of_the_video():
    points = PointGenerator(3)(8)
    place = points.place(torch.tensor([8, 4]))
    assert place.shape == (2, 14, 3)
    assert place[0, -1].tolist() == [0.75, 0.5, 0.25]  # the last cell of the third level
    assert place[1, 0].tolist() == [0.125, 0.25, 0]


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match='at least one level'):
        PointGenerator(0)
    with pytest.raises(ValueError, match='10 clips are not a multiple of 8: pad them'):
        PointGenerator(4)(10)
