"""Query-free proposals."""

from itertools import pairwise

import torch

from demul_mm.models.heads import ProposalHead
from demul_mm.models.task_modules import PointGenerator


def test_spans_lie_in_the_unit_interval_around_their_cell():
    torch.manual_seed(0)
    points, clips = PointGenerator(4)(16), torch.tensor([16, 9, 1])
    spans = ProposalHead(8)(torch.randn(3, 30, 8), points, clips)
    valid = points.valid(clips)
    start, end = spans.unbind(-1)
    assert bool(((start >= 0) & (start <= end) & (end <= 1))[valid].all())
    low = points.centers - points.strides / 2
    left = torch.minimum(low + points.strides, clips[:, None].float())
    middle = (low + left) / 2 / clips[:, None]
    assert bool(((start <= middle) & (middle <= end))[valid].all())


def test_coarser_cells_start_with_longer_spans():
    points, clips = PointGenerator(4)(64), torch.tensor([64])
    spans = ProposalHead(8)(torch.zeros(1, 120, 8), points, clips)[0] * 64
    middle = [
        spans[points.levels == level][size // 2] for level, size in enumerate((64, 32, 16, 8))
    ]
    lengths = [(span[1] - span[0]).item() for span in middle]
    assert all(b > a for a, b in pairwise(lengths))
