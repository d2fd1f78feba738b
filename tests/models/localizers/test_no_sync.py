"""A training step never asks the device for a value, nor waits for it to take one.

Tensors on the device ``meta`` have no values: to read one back, to index by a mask or to ask for
unique numbers is an error there, and so is a tensor that was left on the CPU. What would only wait
on a GPU, a tensor made of a list on the device, is caught by its call.
"""

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch.overrides import TorchFunctionMode

from demul_mm.device import on_host, to_device
from demul_mm.engine.optim import AutocastOptimWrapper, MuonAdamW
from demul_mm.models.backbones import TransformersLM
from demul_mm.models.localizers import DeMUL
from tests.models.tiny import SENTENCES, tiny_data, tiny_model

META = torch.device('meta')
FROM_LISTS = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)


class NoWaiting(TorchFunctionMode):
    """Refuse tensors that are made of lists on a device, and copies that wait."""

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if isinstance(out, torch.Tensor) and out.device == META:
            assert func not in FROM_LISTS, f'{func} copies a list to the device and waits for it'
            if func is torch.Tensor.to and args[0].device != META:
                assert kwargs.get('non_blocking'), 'a copy to the device that waits for it'
        return out


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """autocast knows no such device; what it casts needs no value."""
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: contextlib.nullcontext())


def train_step(model: DeMUL, data: dict) -> dict[str, torch.Tensor]:
    wrapper = AutocastOptimWrapper(MuonAdamW(model.parameters()), clip_grad=dict(max_norm=1.0))
    with NoWaiting():
        losses = model.train_step(data, wrapper)
    assert wrapper.grad_norm is not None
    assert wrapper.grad_norm.device == META
    return losses


EVERYTHING = dict(
    streams=('visual', 'text'),
    head=dict(
        smoothing=0.5,
        candidates=[
            dict(type='SparseMapCandidates'),
            dict(type='StartEndCandidates'),
        ],
    ),
    criterion=dict(weights=dict(decorrelation=0.1, confusion=0.01, distillation=0.2)),
)
RECIPE = dict(
    memory=None,
    criterion=dict(weights={}),
    neck=dict(stages=('words',), survivors=None, cells_talk=True),
    train_cfg=dict(num_negatives=0),
)


@pytest.mark.parametrize('changes', [RECIPE, EVERYTHING], ids=['recipe', 'everything'])
def test_a_training_step_reads_nothing_back(changes: dict) -> None:
    model = tiny_model(**changes).to(META).train()
    data = tiny_data(streams=tuple(model.towers))
    if 'text' in data['inputs']:
        data['inputs']['text'][1] = None
    for sample in data['data_samples']:
        sample.hard_queries = [SENTENCES[0]]
    losses = train_step(model, data)
    assert all(loss.device == META for loss in losses.values())


def test_known_sentences_are_looked_up_on_the_host() -> None:
    lm = TransformersLM()
    ids, mask = (
        torch.randint(1000, 2000, (5, 9)),
        torch.arange(9)[None] < torch.arange(5, 10)[:, None],
    )
    lm(ids, mask)
    with NoWaiting():
        features = lm(to_device(ids, META), to_device(mask, META))
    assert features.shape == (5, 9, lm.out_dim)
    assert features.device == META


def test_what_the_host_gave_it_need_not_ask_for() -> None:
    x = torch.arange(3)
    assert torch.equal(on_host(to_device(x, 'meta')), x)
    assert to_device(x, 'cpu') is x is on_host(x)
    with pytest.raises(NotImplementedError):
        on_host(to_device(x, 'meta') + 1)


def test_the_guard_sees_what_waits() -> None:
    x = torch.ones(3, device=META)
    index = [lambda: x[x > 0], lambda: bool(x[0])]
    for reads in (x.sum().item, x.tolist, x.cpu, x.nonzero, x.unique, *index):
        with NoWaiting(), pytest.raises((NotImplementedError, RuntimeError)):
            reads()
    for waits in (lambda: torch.tensor([1], device=META), lambda: x.new_tensor([1])):
        with NoWaiting(), pytest.raises(AssertionError, match='copies a list'):
            waits()
    with NoWaiting(), pytest.raises(AssertionError, match='that waits'):
        torch.ones(3).to(META)
