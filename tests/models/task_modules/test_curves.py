"""Reading curves, against brute-force integration."""

import numpy as np
import pytest
import torch
from torch import Tensor

from demul_mm.models.task_modules.curves import coherence, sample_curve, smooth
from demul_mm.structures import mean_over

GRID = 3000  # points for each clip


def brute_mean(curve: np.ndarray, start: float, end: float) -> float:
    """Mean of the piecewise constant curve over a span, by sampling densely."""
    x = start + (np.arange(GRID) + 0.5) / GRID * (end - start)
    return float(curve[np.clip(x.astype(int), 0, len(curve) - 1)].mean())


@pytest.fixture
def spans() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    some = (torch.rand(40, 2, generator=rng) * 10).sort(-1).values
    by_hand = torch.tensor([[0.0, 10.0], [0.0, 1.0], [9.0, 10.0], [3.2, 3.7], [2.0, 5.0]])
    return torch.cat([some[some[:, 1] - some[:, 0] > 0.05], by_hand])


def test_sample_curve_is_linear_interpolation_between_clip_centres():
    curve = torch.rand(3, 9)
    position = torch.rand(3, 50) * 9
    expected = np.stack([np.interp(p, np.arange(9) + 0.5, c) for p, c in zip(position, curve)])
    found = sample_curve(curve, position)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


def test_sample_curve_is_flat_beyond_the_outer_centres():
    curve = torch.tensor([[2.0, 5.0, 7.0]])
    position = torch.tensor([[0.0, 0.25, 0.5, 1.0, 2.5, 3.0]])
    assert sample_curve(curve, position).tolist() == [[2, 2, 2, 3.5, 7, 7]]
    assert sample_curve(curve[:, :1], position).tolist() == [[2.0] * 6]


def test_mean_over_is_the_integral_over_the_length(spans: Tensor):
    curve = torch.rand(1, 10)
    found = mean_over(curve, spans[None, :, 0], spans[None, :, 1])[0]
    expected = [brute_mean(curve[0].numpy(), s, e) for s, e in spans.tolist()]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)


def test_mean_over_nothing_is_zero():
    at = torch.tensor([[4.0, 10.0, 0.0]])
    assert mean_over(torch.ones(1, 10), at, at).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize('clips', [10, 7])
def test_coherence_is_inside_against_flanks(spans: Tensor, clips: int):
    curve = torch.rand(1, 10) * (torch.arange(10) < clips)
    spans = spans.clamp(max=clips)
    spans = spans[spans[:, 1] - spans[:, 0] > 0.05]
    found = coherence(curve, spans[None, :, 0], spans[None, :, 1], torch.tensor([clips]))[0]
    for value, (start, end) in zip(found.tolist(), spans.tolist()):
        half = (end - start) / 2
        before, after = max(0, start - half), min(clips, end + half)
        flanks = [(before, start), (end, after)]
        total = sum(e - s for s, e in flanks)
        array = curve[0].numpy()
        flank = sum(brute_mean(array, s, e) * (e - s) for s, e in flanks if e - s > 1e-3)
        expected = brute_mean(array, start, end) - (flank / total if total > 1e-3 else 0)
        assert value == pytest.approx(expected, abs=2e-3)


def test_coherence_is_best_at_the_true_span():
    curve = torch.zeros(1, 20)
    curve[0, 6:12] = 1
    start, end = torch.cartesian_prod(torch.arange(21.0), torch.arange(21.0)).T
    ok = start < end
    found = coherence(curve, start[None, ok], end[None, ok], torch.tensor([20]))[0]
    assert found.max() == 1
    best = found.argmax()
    assert (start[ok][best], end[ok][best]) == (6, 12)
    assert bool((found.abs() <= 1).all())


def test_smoothing_by_hand():
    curve = torch.tensor([[4.0, 0.0, 2.0, 9.0], [5.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    # The first clip has one neighbour; a masked one is none; a lone clip keeps its value.
    assert smooth(curve, mask, own=0.5).tolist() == [[2, 1.5, 1, 0], [5, 0, 0, 0]]
    torch.testing.assert_close(smooth(curve, mask, own=1.0), curve * mask)


def test_smoothing_leaves_a_constant_alone_and_keeps_a_lone_peak_highest():
    mask = torch.ones(1, 9, dtype=torch.bool)
    torch.testing.assert_close(smooth(torch.full((1, 9), 0.7), mask), torch.full((1, 9), 0.7))
    peak = torch.zeros(1, 9)
    peak[0, 4] = 1
    found = smooth(peak, mask)
    assert found.argmax() == 4
    assert found.max() == 0.5
