"""A gradient reaches every parameter, in float32 and in bfloat16."""

import copy

import pytest
import torch

from demul_mm.models.localizers import DeMUL
from tests.models.tiny import DIM, losses_of, tiny_data, tiny_model, train_steps

VARIANTS = {
    'default': dict(),
    'two streams': dict(streams=('visual', 'subtitle')),
    'all cells survive': dict(neck=dict(survivors=None)),
    'one stage': dict(neck=dict(stages=('sentence',))),
    'one stage over the words': dict(neck=dict(stages=('words',), cells_talk=True)),
    'words of two streams': dict(streams=('visual', 'subtitle'), neck=dict(stages=('words',))),
    'pairs of borders': dict(head=dict(candidates=[dict(type='StartEndCandidates')])),
    'no fusion': dict(neck=None),
    'no memory': dict(memory=None),
}


@pytest.fixture(scope='module', params=VARIANTS.values(), ids=VARIANTS)
def model(request: pytest.FixtureRequest) -> DeMUL:
    """In general position: gates and last layers start at zero and let nothing through."""
    model = tiny_model(**request.param)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.train()


@pytest.mark.parametrize('bfloat16', [False, True])
def test_every_parameter_gets_a_finite_gradient(model: DeMUL, bfloat16: bool):
    model.zero_grad(set_to_none=True)
    with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
        losses = losses_of(model, tiny_data(streams=tuple(model.towers)))
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, grad in gradients.items() if grad is None]
    assert not [name for name, grad in gradients.items() if not grad.isfinite().all()]
    # Rounding alone leaves 1e-9 where nothing truly arrives.
    still = {name for name, grad in gradients.items() if grad.abs().max() < 1e-7}
    if model.neck is None or not model.neck.reads_sentence:
        # Only their correlation counts then, which a shift does not change.
        still -= {f'decoupler.language.private.{layer}.bias' for layer in (0, 1)}
    assert not still


def test_scores_do_not_move_borders(model: DeMUL) -> None:
    weight, moved = model.head.place.weight, []
    for name, loss in losses_of(model, tiny_data(streams=tuple(model.towers))).items():
        if loss.requires_grad:
            (grad,) = torch.autograd.grad(loss, weight, retain_graph=True, allow_unused=True)
            moved += [name] if grad is not None and grad.any() else []
    assert moved == ['loss_span']


@pytest.mark.parametrize('reader', [None, dict(type='SimilarityReader', dim=DIM, learned=True)])
def test_a_single_clip_and_a_still_picture_have_finite_gradients(reader: dict | None) -> None:
    model = tiny_model(reader=reader).train()
    data = tiny_data((1, 12), (1, 2))
    data['inputs']['visual'][1][:] = data['inputs']['visual'][1][0]
    sum(losses_of(model, data).values()).backward()
    assert not [
        n for n, p in model.named_parameters() if p.grad is not None and p.grad.isnan().any()
    ]


def test_weights_that_are_no_numbers_give_such_a_loss(model: DeMUL) -> None:
    """Not an error of some index, on a GPU of the device: the loss is what is looked at."""
    broken = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(float('nan'))
    losses = losses_of(broken, tiny_data(streams=tuple(model.towers)))
    assert sum(losses.values()).isnan()


def test_bfloat16_losses_are_those_of_float32_but_for_rounding(model: DeMUL):
    data = tiny_data(streams=tuple(model.towers))
    model.eval()
    with torch.no_grad():
        exact = losses_of(model, data)
        with torch.autocast('cpu', torch.bfloat16):
            rounded = losses_of(model, data)
    model.train()
    for name, value in exact.items():
        assert rounded[name].item() == pytest.approx(value.item(), rel=0.15, abs=0.02), name


def test_training_opens_every_gate(trained: DeMUL):
    gates = [p for name, p in trained.named_parameters() if name.endswith(('alpha', 'beta'))]
    assert len(gates) == 3 + 2
    assert all(gate.item() for gate in gates)


def test_terms_switched_off_weigh_nothing_and_learn_nothing():
    model = tiny_model(head=dict(joint=dict(type='JointScore', terms=('semantic', 'boundary'))))
    train_steps(model, tiny_data(), 2)
    model.zero_grad()
    sum(losses_of(model.train(), tiny_data()).values()).backward()
    gradient = model.head.joint.raw.grad
    assert gradient[[1, 3]].tolist() == [0, 0]
    assert bool((gradient[[0, 2]] != 0).all())


def test_without_fusion_its_parameters_get_a_gradient_of_zero():
    """DDP waits for one of every parameter, also while only the encoders learn."""
    model = tiny_model(streams=('visual', 'subtitle')).train()
    model.fusing = False
    losses = losses_of(model, tiny_data(streams=tuple(model.towers)))
    sum(losses.values()).backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert model.neck is not None
    assert not any(parameter.grad.any() for parameter in model.neck.parameters())
