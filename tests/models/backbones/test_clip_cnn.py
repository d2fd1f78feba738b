"""The small clip encoder."""

import math

import pytest
import torch
import torch.nn.functional as F

from demul_mm.models.backbones.clip_cnn import ClipCNN, best_response
from demul_mm.registry import MODELS


@pytest.fixture
def clips() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 4, 32, 32), generator=generator, dtype=torch.uint8)


@pytest.fixture
def model() -> ClipCNN:
    torch.manual_seed(0)
    return MODELS.build(dict(type='ClipCNN', out_dim=12, embed_dim=8, widths=(8, 8, 16)))


def test_best_response_is_the_maximum_when_sharp() -> None:
    queries, cells = torch.randn(5, 8), F.normalize(torch.randn(3, 8, 6), dim=1)
    cosine = F.normalize(queries, dim=1) @ cells  # (3, 5, 6)
    sharp = best_response(queries, cells, 1000.0)
    assert torch.allclose(sharp.T, cosine.amax(2), atol=0.01)
    soft = best_response(3 * queries, cells, 15.0)
    assert torch.allclose(soft.T, (15 * cosine).exp().mean(2).log() / 15, atol=1e-5)
    alike = cells[:, :, :1].expand(-1, -1, 6)
    assert torch.allclose(best_response(queries, alike, 15.0).T, cosine[..., 0], atol=1e-5)


def test_a_whole_is_more_than_its_parts_apart() -> None:
    """Red and left in one cell answer "red left" more than in two cells: words are bound."""
    red, left, other = torch.eye(3)
    together = torch.stack([F.normalize(red + left, dim=0), other], 1)
    apart = torch.stack([red, left], 1)
    bound, loose = best_response((red + left)[None], torch.stack([together, apart]), 15.0)[0]
    assert bound > loose + 0.2


def test_batch_of_three_is_three_of_one(model: ClipCNN, clips: torch.Tensor) -> None:
    model.eval()
    features = model(clips)
    assert features.shape == (3, 12)
    single = torch.cat([model(clip[None]) for clip in clips])
    assert torch.allclose(features, single, atol=1e-5)


def test_pixels_of_any_type(model: ClipCNN, clips: torch.Tensor) -> None:
    model.eval()
    assert torch.allclose(model(clips), model(clips.float()), atol=1e-6)
    with torch.autocast('cpu', torch.bfloat16):
        low = model(clips)
    assert low.dtype == torch.float32
    assert torch.allclose(low, model(clips), atol=0.1)


def test_the_stem_sees_means_and_differences(model: ClipCNN, clips: torch.Tensor) -> None:
    """The weight over frames is that over their mean and differences, applied to the frames."""
    x = clips.double()
    parts = [x.mean(2) / 64] + [(x[:, :, k] - x[:, :, k - 1]) / 20 for k in (1, 2, 3)]
    expected = F.conv2d(
        torch.stack(parts, 2).flatten(1, 2), model.stem.weight.double(), stride=4, padding=1
    )
    found = F.conv2d(x.flatten(1, 2), model._stem_weight().double(), stride=4, padding=1)
    assert torch.allclose(found, expected, atol=1e-3)


def test_order_of_frames_matters(model: ClipCNN, clips: torch.Tensor) -> None:
    model.eval()
    assert (model(clips) - model(clips.flip(2))).abs().max() > 1e-3


def test_gradient_reaches_every_parameter(model: ClipCNN, clips: torch.Tensor) -> None:
    model(clips).pow(2).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_features_are_standardised(model: ClipCNN, clips: torch.Tensor) -> None:
    model.eval()
    raw = model(clips)
    model.mean.fill_(0.5)
    model.std.fill_(0.25)
    assert torch.allclose(model(clips), (raw - 0.5) / 0.25, atol=1e-5)


def test_any_size_of_picture(model: ClipCNN) -> None:
    model.eval()
    clip = torch.randint(0, 256, (1, 3, 4, 40, 72), dtype=torch.uint8)
    assert math.isfinite(float(model(clip).sum()))


@pytest.mark.parametrize('shape', [(2, 3, 5, 32, 32), (2, 4, 3, 32, 32), (3, 4, 32, 32)])
def test_wrong_shape(model: ClipCNN, shape: tuple) -> None:
    with pytest.raises(ValueError, match='frames_per_clip'):
        model(torch.zeros(shape))
