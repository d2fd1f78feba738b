"""What a candidate sees of the curves around it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from demul_mm.models.heads import CurveProfile


@pytest.fixture
def profile() -> CurveProfile:
    """Its output is what it samples: place by place, the curve and whether it is video."""
    found = CurveProfile(dim=10, channels=1, places=5, reach=2.0)
    torch.nn.init.eye_(found.project.weight)
    torch.nn.init.zeros_(found.project.bias)
    return found


@torch.no_grad()
def sampled(profile: CurveProfile, curve: Tensor, clips: int, center: float, stride: float):
    """Values and validity at the five places."""
    mask = torch.arange(len(curve))[None] < clips
    at = torch.tensor([[center]]), torch.tensor([[stride]])
    return profile(curve[None, :, None], mask, *at)[0, 0].view(5, 2).T.tolist()


@pytest.mark.parametrize('padding', [0, 1, 5])
@pytest.mark.parametrize('stride', [0.5, 1.0, 1.3, 2.0, 4.0])
@pytest.mark.parametrize('center', [0.5, 1.0, 4.0, 6.75, 7.5])
def test_it_interpolates_inside_the_video_and_fades_to_nothing_outside(
    profile: CurveProfile, center: float, stride: float, padding: int
):
    torch.manual_seed(0)
    curve = torch.randn(8 + padding)
    values, valid = sampled(profile, curve, 8, center, stride)
    places = center + stride * np.array([-2, -1, 0, 1, 2])
    knots = np.arange(-1, 9) + 0.5

    def read(values: Tensor) -> list[float]:
        return np.interp(places, knots, [0, *values.tolist(), 0]).tolist()

    assert values == pytest.approx(read(curve[:8]), abs=1e-5)
    assert valid == pytest.approx(read(torch.ones(8)), abs=1e-5)


@pytest.mark.parametrize('places', [0, 4])
def test_without_a_middle_place_it_is_refused(places: int):
    with pytest.raises(ValueError, match=f'places is {places}; .* odd'):
        CurveProfile(dim=10, channels=1, places=places)
