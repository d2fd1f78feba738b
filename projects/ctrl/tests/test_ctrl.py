"""CTRL is itself: its size, its windows, its offsets."""

import pytest
import torch

from projects.ctrl.model import PairScorer
from projects.ctrl.windows import (
    decode_offsets,
    encode_offsets,
    pad_windows,
    pool,
    sliding_windows,
    with_context,
)


def test_parameters() -> None:
    scorer = PairScorer(visual_dim=12_288, text_dim=4_800)
    assert sum(p.numel() for p in scorer.parameters()) == 21_600_163


def test_offsets_invert() -> None:
    rng = torch.Generator().manual_seed(0)
    windows, truth = torch.rand(2, 9, 2, generator=rng).sort(-1).values * 30
    offsets = encode_offsets(windows, truth, 0.64)
    torch.testing.assert_close(decode_offsets(windows, offsets, 0.64), truth)
    assert (encode_offsets(truth, truth, 0.64) == 0).all()


def test_windows_overlap_and_stay_inside() -> None:
    windows = torch.tensor(sliding_windows(30.0, (5.0, 10.0), 0.8))
    lengths = windows[:, 1] - windows[:, 0]
    short = windows[lengths == 5]
    assert len(short) == 26
    assert len(windows) == 26 + 11
    torch.testing.assert_close(short.diff(dim=0), torch.ones(25, 2))
    assert windows.min() == 0
    assert windows.max() == 30
    assert sliding_windows(3.0, (5.0,), 0.8) == [[0.0, 3.0]]
    padded, mask = pad_windows([[[0.0, 1.0]], [[0.0, 1.0], [1.0, 2.0]]])
    assert mask.tolist() == [[True, False], [True, True]]
    assert padded[1].tolist() == [[0, 1], [1, 2]]


def test_a_window_is_the_mean_of_its_clips_between_its_neighbours() -> None:
    clips = torch.arange(8.0).view(1, 8, 1)
    spans = torch.tensor([[[2.0, 4.0], [1.5, 2.5], [0.0, 8.0], [6.0, 8.0]]])
    assert pool(clips, spans)[..., 0].tolist() == [[2.5, 1.5, 3.5, 6.5]]
    around = with_context(clips, spans)
    assert around[0, 0].tolist() == [0.5, 2.5, 4.5]
    assert around[0, 3].tolist() == [4.5, 6.5, 0.0]  # nothing comes after the end


def test_every_pair_is_scored_alike() -> None:
    torch.manual_seed(0)
    scorer = PairScorer(6, 5, dim=4, hidden=7)
    windows, sentences = scorer.embed(torch.randn(3, 6), torch.randn(2, 5))
    matrix = scorer(windows[:, None], sentences[None])
    assert matrix.shape == (3, 2, 3)
    one = scorer(windows[1:2, None], sentences[None, 1:])
    torch.testing.assert_close(matrix[1, 1], one[0, 0])
    assert windows.norm(dim=-1).tolist() == pytest.approx([1, 1, 1])
