"""What all clips have in common is taken off, and nothing else."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from demul_mm.models.layers import Standardize


def clips(seed: int, number: int = 4) -> tuple[Tensor, Tensor]:
    """Videos of clips around one common vector, some of them padding, one of zeros."""
    rng = torch.Generator().manual_seed(seed)
    x = 5 + torch.randn(number, 9, 6, generator=rng) * torch.arange(1, 7)
    mask = torch.arange(9)[None] < torch.randint(2, 10, (number, 1), generator=rng)
    x[:, 1] = 0
    return x, mask


def kept(x: Tensor, mask: Tensor) -> Tensor:
    return mask & (x != 0).any(-1)


def test_training_clips_get_mean_zero_and_spread_one() -> None:
    """Of all batches together, each clip as much as any other."""
    layer = Standardize(6)
    batches = [clips(0), clips(1, 2), clips(2, 7)]
    for batch in batches:
        layer(*batch)
    layer.eval()
    rows = torch.cat([layer(*batch)[kept(*batch)] for batch in batches])
    torch.testing.assert_close(rows.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert layer.seen == len(rows)


def test_it_learns_in_training_alone() -> None:
    layer = Standardize(6)
    layer(*clips(0))
    before = layer.mean.clone(), layer.square.clone()
    first = layer.eval()(*clips(1))
    torch.testing.assert_close((layer.mean, layer.square), before, rtol=0, atol=0)
    torch.testing.assert_close(layer(*clips(1)), first, rtol=0, atol=0)


def test_a_video_alone_is_read_as_among_others() -> None:
    layer = Standardize(6)
    layer(*clips(0))
    x, mask = clips(1)
    torch.testing.assert_close(layer.eval()(x[:1], mask[:1]), layer(x, mask)[:1])


def test_scale_padding_and_empty_clips() -> None:
    layer = Standardize(6)
    layer(*clips(0))
    x, mask = clips(1)
    found = layer.eval()(x, mask)
    torch.testing.assert_close(layer(1000 * x, mask), found)
    assert not found[~kept(x, mask)].any()
    torch.testing.assert_close(layer(torch.where(mask[..., None], x, 7.0), mask), found)


def test_before_any_training_directions_stay() -> None:
    x, mask = clips(0)
    found = Standardize(6).eval()(x, mask)
    rows = kept(x, mask)
    torch.testing.assert_close(F.normalize(found[rows], dim=-1), F.normalize(x[rows], dim=-1))


def test_a_value_that_hardly_varies_is_not_blown_up() -> None:
    rng = torch.Generator().manual_seed(0)
    x, mask = torch.randn(8, 16, 6, generator=rng), torch.ones(8, 16, dtype=torch.bool)
    x[..., 0] = 1e-4 * x[..., 0]
    layer = Standardize(6)
    layer(x, mask)
    assert layer.eval()(x, mask)[..., 0].std() < 0.1


@pytest.mark.parametrize('number', [0, 3])
def test_a_batch_without_any_clip_changes_nothing(number: int) -> None:
    layer = Standardize(6)
    for seed in range(number):
        layer(*clips(seed))
    before = layer.mean.clone(), layer.square.clone()
    found = layer(torch.zeros(2, 4, 6), torch.zeros(2, 4, dtype=torch.bool))
    assert not found.any()
    torch.testing.assert_close((layer.mean, layer.square), before, rtol=0, atol=0)
