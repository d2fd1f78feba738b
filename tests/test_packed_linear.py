"""A packed layer multiplies as ``nn.Linear`` does, and arranges its weights only once."""

import copy

import pytest
import torch
from torch import nn

from demul_mm.packed_linear import PackedLinear, pack_linear


@pytest.mark.parametrize('shape', [(1, 24), (130, 24), (2, 7, 24)])
@pytest.mark.parametrize('bias', [True, False])
def test_it_gives_what_a_linear_layer_gives(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias)
    packed = PackedLinear.of(plain)
    assert packed.weight is plain.weight
    assert packed.bias is plain.bias
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), plain(x))
        assert (packed._packed is not None) == torch.backends.mkldnn.is_available()


def test_weights_that_change_are_arranged_again() -> None:
    torch.manual_seed(0)
    packed, x = PackedLinear.of(nn.Linear(8, 5)), torch.randn(3, 8)
    with torch.no_grad():
        packed(x)
        arranged = packed._packed
        packed(x)
        assert packed._packed is arranged
        packed.weight.mul_(2)  # in place
        torch.testing.assert_close(packed(x), x @ packed.weight.T + packed.bias)
        packed.load_state_dict(nn.Linear(8, 5).state_dict())
        torch.testing.assert_close(packed(x), x @ packed.weight.T + packed.bias)
        packed.to(torch.bfloat16).to(torch.float32)  # other memory
        torch.testing.assert_close(packed(x), x @ packed.weight.T + packed.bias)


def test_gradients_and_other_precisions_take_the_usual_way() -> None:
    packed, x = PackedLinear.of(nn.Linear(8, 5)), torch.randn(3, 8)
    packed(x).sum().backward()
    assert packed.weight.grad is not None
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert packed(x).dtype == torch.bfloat16
    with torch.no_grad():
        assert packed.double()(x.double()).dtype == torch.float64
    assert packed._packed is None


def test_every_linear_layer_of_a_module_is_packed_and_can_be_copied() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 3))).eval()
    x, state = torch.randn(4, 6), model.state_dict()
    with torch.no_grad():
        before = model(x)
        assert pack_linear(model) is model
        assert sum(isinstance(m, PackedLinear) for m in model.modules()) == 2
        assert not any(m.training for m in model.modules())
        torch.testing.assert_close(model(x), before)
        torch.testing.assert_close(copy.deepcopy(model)(x), before)
    assert model.state_dict().keys() == state.keys()
