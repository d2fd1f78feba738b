"""The tower of a stream."""

import pytest
import torch

from demul_mm.models.backbones import TemporalTower


@pytest.fixture(scope='module', params=[0, 2], ids='{} blocks'.format)
def tower(request: pytest.FixtureRequest) -> TemporalTower:
    torch.manual_seed(0)
    return TemporalTower(in_dim=5, dim=8, depth=request.param, num_heads=2, radius=3).eval()


def test_padding_is_zero_and_changes_nothing(tower: TemporalTower):
    x = torch.randn(2, 20, 5)
    mask = torch.arange(20)[None] < torch.tensor([[11], [20]])
    found = tower(x, mask)
    assert found.shape == (2, 20, 8)
    assert not found[~mask].any()
    torch.testing.assert_close(tower(x[:1, :11], mask[:1, :11]), found[:1, :11])


def test_features_of_any_scale_serve(tower: TemporalTower):
    x, mask = torch.randn(1, 6, 5), torch.ones(1, 6, dtype=torch.bool)
    torch.testing.assert_close(tower(1000 * x, mask), tower(x, mask), rtol=1e-3, atol=1e-3)


def test_position_can_be_left_out():
    torch.manual_seed(0)
    tower = TemporalTower(in_dim=5, dim=8, depth=0, num_bands=0)
    x, mask = torch.randn(1, 1, 5).expand(1, 6, 5), torch.ones(1, 6, dtype=torch.bool)
    found = tower.eval()(x, mask)
    torch.testing.assert_close(found, found[:, :1].expand_as(found))


def test_an_absent_stream_is_zero(tower: TemporalTower):
    found = tower(torch.zeros(2, 8, 0), torch.zeros(2, 8, dtype=torch.bool))
    assert found.shape == (2, 8, 8)
    assert not found.any()


def test_another_width_is_refused(tower: TemporalTower):
    with pytest.raises(ValueError, match='have 7 dimensions, the model was built for 5'):
        tower(torch.randn(1, 4, 7), torch.ones(1, 4, dtype=torch.bool))
