"""The map is what the paper draws, and both methods learn on it."""

import pytest
import torch

from projects.tan2d.moment_map import (
    MapConvolutions,
    MomentMap,
    scaled_iou,
    share_of_parts,
    sparse_lengths,
)


@pytest.mark.parametrize(('clips', 'count'), [(16, 136), (64, 1104), (128, 2548)])
def test_candidates(clips: int, count: int) -> None:
    grid = MomentMap(clips)
    assert len(grid.spans) == count == int(grid.valid.sum())
    assert (grid.spans[:, 1] > grid.spans[:, 0]).all()
    assert grid.spans.max() == 1
    assert len(grid.cells.unique()) == count
    assert (grid.valid.tril(-1) == 0).all()  # no moment ends before it starts


def test_short_moments_are_dense_and_long_ones_sparse() -> None:
    lengths = dict(sparse_lengths(64))
    assert [n for n, stride in lengths.items() if stride == 1] == list(range(1, 17))
    assert [n for n, stride in lengths.items() if stride == 2] == list(range(18, 33, 2))
    assert [n for n, stride in lengths.items() if stride == 4] == list(range(36, 65, 4))


def test_a_cell_holds_the_largest_of_its_clips() -> None:
    grid = MomentMap(32)
    x = torch.randn(2, 32, 3)
    cells = grid.take(grid(x))  # (2, 3, M)
    for m, (start, end) in enumerate((grid.spans * 32).round().long().tolist()):
        torch.testing.assert_close(cells[..., m], x[:, start:end].amax(1))
    assert (grid(x) * (1 - grid.valid) == 0).all()


def test_equal_parts_of_a_video() -> None:
    clips = torch.arange(12.0).view(1, 12, 1)
    mask = torch.arange(12)[None] < 6
    parts = (share_of_parts(mask, 4) @ clips).flatten()  # of 1.5 clips each
    torch.testing.assert_close(parts, torch.tensor([0.5 / 1.5, 2.5 / 1.5, 5 / 1.5, 7 / 1.5]))
    whole = (share_of_parts(torch.ones(1, 12, dtype=torch.bool), 4) @ clips).flatten()
    torch.testing.assert_close(whole, torch.tensor([1.0, 4.0, 7.0, 10.0]))


def test_convolutions_leave_the_rest_of_the_map_empty() -> None:
    grid = MomentMap(32)
    out = MapConvolutions(3, 2, 5)(grid(torch.randn(1, 32, 3)), grid.valid)
    assert (out * (1 - grid.valid) == 0).all()
    assert out.any()


def test_scaled_iou() -> None:
    iou = torch.tensor([0.0, 0.5, 0.75, 1.0])
    torch.testing.assert_close(scaled_iou(iou, 0.5, 1.0), torch.tensor([0.0, 0.0, 0.5, 1.0]))
