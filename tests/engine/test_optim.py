"""Mixed precision: what is cast, what is not, loss scale, gradient accumulation; Muon."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from demul_mm.engine.optim import AutocastOptimWrapper, MuonAdamW
from demul_mm.engine.optim.muon import orthogonalize
from demul_mm.precision import multiplies_bfloat16
from tests.warm import run_ranks


def wrapper(model: nn.Module, lr: float = 0.1, **options: object) -> AutocastOptimWrapper:
    return AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=lr), **options)


def test_forward_is_bfloat16_and_weights_stay_float32() -> None:
    model = nn.Linear(4, 2)
    optim = wrapper(model, dtype='bfloat16')
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


def test_auto_is_what_the_hardware_multiplies() -> None:
    model = nn.Linear(4, 2)
    with wrapper(model).optim_context(model):
        native = multiplies_bfloat16('cpu')
        assert model(torch.randn(3, 4)).dtype == (torch.bfloat16 if native else torch.float32)


def test_float16_is_refused_on_a_cpu() -> None:
    model = nn.Linear(1, 1)
    optim = wrapper(model, dtype='float16')
    with pytest.raises(ValueError, match='float16 needs a GPU'), optim.optim_context(model):
        pass


def test_misspelt_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="'bf16'; allowed: auto, float32, bfloat16, float16"):
        wrapper(nn.Linear(1, 1), dtype='bf16')


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


# -- Muon ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('shape', [(16, 16), (8, 24), (24, 8)])
def test_orthogonal_matrices_keep_their_directions(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    found = orthogonalize(matrices).float()
    values = torch.linalg.svdvals(found)
    assert 0.5 < values.min() <= values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    near = torch.nn.functional.cosine_similarity(found.flatten(1), (u @ v).flatten(1))
    assert near.min() > 0.95


def test_matrices_take_muon_and_the_rest_takes_adamw() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9), nn.LayerNorm(9), nn.Linear(9, 2))
    other = nn.Sequential(nn.Linear(12, 9), nn.LayerNorm(9), nn.Linear(9, 2))
    other.load_state_dict(model.state_dict())
    optimizer = MuonAdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1)
    x, before = torch.randn(5, 12), model[0].weight.detach().clone()
    for each, optim in ((model, optimizer), (other, adamw)):
        each(x).square().sum().backward()
        optim.step()
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters()):
        assert (name == '0.weight') != torch.allclose(a, b, atol=1e-6), name
    momentum = optimizer.state[model[0].weight]['momentum_buffer']
    expected = before * (1 - 0.01 * 0.1)
    nesterov = momentum * 0.95 + model[0].weight.grad
    expected -= 0.01 * 0.2 * 12**0.5 * orthogonalize(nesterov[None])[0].float()
    torch.testing.assert_close(model[0].weight.detach(), expected)


def test_a_restored_muon_goes_on_as_it_was() -> None:
    def run(steps: int, state: dict | None = None, start: dict | None = None) -> tuple:
        torch.manual_seed(0)
        model = nn.Linear(12, 9)
        if start:
            model.load_state_dict(start)
        optimizer = MuonAdamW(model.parameters(), lr=0.01)
        if state:
            optimizer.load_state_dict(state)
        x = torch.randn(5, 12)
        for _ in range(steps):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        return optimizer.state_dict(), model.state_dict()

    whole = run(4)
    parts = run(2, *run(2))
    assert torch.equal(whole[1]['weight'], parts[1]['weight'])
    assert torch.equal(whole[1]['bias'], parts[1]['bias'])


def test_a_weight_that_changes_sides_at_a_resume_starts_anew() -> None:
    """As it would with no state; what stays on its side goes on with its own."""
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(*shape)) for shape in ((16, 16, 3), (9, 9), (16, 16))]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    sides = dict(kernels=True, min_size=10), dict(kernels=False, min_size=8)
    for before, after in (sides, sides[::-1]):
        first = MuonAdamW(weights, **before)
        first.step()
        values = [w.detach().clone() for w in weights]
        own = copy.deepcopy(first.state_dict())
        resumed = MuonAdamW(weights, **after)
        resumed.load_state_dict(copy.deepcopy(own))
        resumed.step()
        found = [w.detach().clone() for w in weights]
        fresh = MuonAdamW(weights, **after)
        fresh.load_state_dict({**own, 'state': {2: own['state'][2]}})
        for weight, value in zip(weights, values):
            weight.data.copy_(value)
        fresh.step()
        assert all(torch.equal(a, b) for a, b in zip(found, weights))


def test_muon_refuses_wrong_options() -> None:
    with pytest.raises(ValueError, match=r'momentum 1\.0'):
        MuonAdamW(nn.Linear(2, 2).parameters(), momentum=1.0)
    with pytest.raises(ValueError, match="'float16' lacks the range"):
        MuonAdamW(nn.Linear(2, 2).parameters(), precision='float16')


def test_orthogonal_matrices_are_the_same_in_both_precisions() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 16, 24)
    exact, rounded = (orthogonalize(matrices, precision=p) for p in ('float32', 'bfloat16'))
    assert exact.dtype == torch.float32
    assert rounded.dtype == torch.bfloat16
    near = torch.nn.functional.cosine_similarity(exact.flatten(1), rounded.float().flatten(1))
    assert near.min() > 0.999


def test_muon_takes_a_kernel_as_a_matrix() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(20, 4, 3, 1))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    left_to_adamw = nn.Parameter(kernel.detach().clone())
    optims = [
        MuonAdamW([kernel, matrix], lr=0.1, kernels=True),
        MuonAdamW([left_to_adamw], lr=0.1),
    ]
    for _ in range(3):
        gradient = torch.randn(20, 12)
        for p in (kernel, matrix, left_to_adamw):
            p.grad = gradient.view_as(p).clone()
        for optim in optims:
            optim.step()
    assert torch.equal(kernel.flatten(1), matrix)
    assert not torch.allclose(left_to_adamw, kernel)
    assert 'exp_avg' in optims[1].state[left_to_adamw]


def _shared_steps(rank: int, folder: str, world: int) -> None:
    """Three steps on matrices of three shapes and a vector, with the same gradients everywhere."""
    if world > 1:
        torch.distributed.init_process_group(
            'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world
        )
    rng = torch.Generator().manual_seed(0)
    shapes = [(16, 16), (16, 16), (16, 16), (32, 16), (16, 32), (16,)]
    params = [torch.nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]
    optimizer = MuonAdamW(params, lr=0.1, precision='float32', shared=world > 1)
    for _ in range(3):
        for p in params:
            p.grad = torch.randn(p.shape, generator=rng)
        optimizer.step()
    torch.save([p.detach() for p in params], f'{folder}/{world}_{rank}.pt')
    if world > 1:
        torch.distributed.destroy_process_group()


def test_sharing_the_orthogonalisation_changes_nothing(tmp_path: Path):
    run_ranks(_shared_steps, str(tmp_path), 2)
    _shared_steps(0, str(tmp_path), 1)
    alone, first, second = (
        torch.load(tmp_path / f'{name}.pt', weights_only=True) for name in ('1_0', '2_0', '2_1')
    )
    for x, y, z in zip(alone, first, second):
        torch.testing.assert_close(x, y)
        assert torch.equal(y, z)
