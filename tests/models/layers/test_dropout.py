"""Dropout by bytes keeps the laws of dropout."""

import pytest
import torch

from demul_mm.models.layers import Dropout


@pytest.mark.parametrize('rate', [0.1, 0.3, 0.5])
def test_it_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(333, 301)  # no multiple of eight
    y = Dropout(rate)(x)
    share = round(rate * 256) / 256
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
    assert float((y == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    # No pattern of eight: neighbours fall independently of each other.
    dropped = (y == 0).flatten()
    both = (dropped[1:] & dropped[:-1]).float().mean()
    assert float(both) == pytest.approx(share**2, abs=0.01)


def test_the_gradient_passes_where_the_value_does() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 8, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())


def test_it_follows_the_seed_and_rests_in_evaluation() -> None:
    x = torch.randn(5, 7)
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(Dropout(0.4)(x))
    assert torch.equal(*runs)
    assert torch.equal(Dropout(0.4).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
