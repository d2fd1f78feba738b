"""bfloat16 on CPU: what is cast, what is not, and gradient accumulation."""

import pytest
import torch
from torch import nn

from demul_mm.engine.optim import AutocastOptimWrapper


def wrapper(model: nn.Module, lr: float = 0.1, **options: object) -> AutocastOptimWrapper:
    return AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=lr), **options)


def test_forward_is_bfloat16_and_weights_stay_float32() -> None:
    model = nn.Linear(4, 2)
    optim = wrapper(model)
    with optim.optim_context(model):
        out = model(torch.randn(3, 4))
    assert out.dtype == torch.bfloat16
    assert model(torch.randn(3, 4)).dtype == torch.float32
    before = model.weight.detach().clone()
    optim.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)


def test_float32_is_the_plain_wrapper() -> None:
    model = nn.Linear(4, 2)
    with wrapper(model, dtype='float32').optim_context(model):
        assert model(torch.randn(3, 4)).dtype == torch.float32


def test_float16_is_refused() -> None:
    with pytest.raises(ValueError, match="'float16', allowed are 'bfloat16' and 'float32'"):
        wrapper(nn.Linear(1, 1), dtype='float16')


def test_two_halves_accumulated_are_one_batch() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 4)
    models = [nn.Linear(4, 1), nn.Linear(4, 1)]
    models[1].load_state_dict(models[0].state_dict())
    whole, halves = wrapper(models[0]), wrapper(models[1], accumulative_counts=2)
    halves.initialize_count_status(models[1], 0, 2)
    with whole.optim_context(models[0]):
        loss = models[0](x).float().square().mean()
    whole.update_params(loss)
    for half in x.chunk(2):
        with halves.optim_context(models[1]):
            loss = models[1](half).float().square().mean()
        halves.update_params(loss)
    torch.testing.assert_close(models[0].weight, models[1].weight, rtol=0, atol=1e-3)


def test_gradients_are_clipped() -> None:
    model = nn.Linear(4, 1, bias=False)
    before = model.weight.detach().clone()
    optim = wrapper(model, lr=1.0, clip_grad=dict(max_norm=0.5))
    with optim.optim_context(model):
        loss = 100 * model(torch.ones(1, 4)).float().sum()
    optim.update_params(loss)
    assert float((model.weight.detach() - before).norm()) == pytest.approx(0.5, rel=1e-3)
