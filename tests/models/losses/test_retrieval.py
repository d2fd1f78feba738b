"""Retrieval in the shared space: who is a negative of whom."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from demul_mm.models.losses import RetrievalLoss
from demul_mm.models.task_modules import SemanticMemory

TEMPERATURE = 0.5
CONTRAST = dict(type='MultiPositiveInfoNCE', temperature=TEMPERATURE)


def case(num_cells: int = 4) -> dict:
    """Three queries about two videos; the first two are about the first one."""
    torch.manual_seed(0)
    positive = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]]).bool()
    counted = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    return dict(
        cells=torch.rand(3, 2, num_cells) * 2 - 1,
        videos=torch.rand(3, 2) * 2 - 1,
        owner=torch.tensor([0, 0, 1]),
        positive=positive,
        counted=counted,
        cell_mask=torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool(),
        meaning=torch.eye(3),  # captions that have nothing in common
        query=F.normalize(torch.randn(3, 6), dim=-1),
        moment=F.normalize(torch.randn(3, 6), dim=-1),
        same=torch.eye(3, dtype=torch.bool),
        memory=None,
    )


def memory_of(captions: Tensor, moments: Tensor, size: int = 8) -> SemanticMemory:
    memory = SemanticMemory(captions.shape[1], moments.shape[1], size=size)
    memory.push(captions, moments)
    return memory


def contrast(right: Tensor, wrong: Tensor) -> Tensor:
    every = torch.cat([right, wrong]) / TEMPERATURE
    return every.logsumexp(0) - (right / TEMPERATURE).logsumexp(0)


def slow_moment_loss(inputs: dict) -> Tensor:
    losses = []
    for q, own in enumerate(inputs['owner']):
        right = inputs['cells'][q, own][inputs['positive'][q]]
        wrong = [inputs['cells'][q, own][inputs['counted'][q] & ~inputs['positive'][q]]]
        wrong += [inputs['cells'][q, v][inputs['cell_mask'][v]] for v in range(2) if v != int(own)]
        if inputs['memory'] is not None:
            wrong.append(inputs['memory'].moments[inputs['memory'].mask] @ inputs['query'][q])
        losses.append(contrast(right, torch.cat(wrong)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize('remember', [False, True])
def test_moments_against_all_other_cells(remember: bool):
    """Unrelated captions: every cell is a full negative, in the query's own video as well."""
    inputs = case()
    if remember:
        captions = torch.tensor([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        inputs['memory'] = memory_of(captions, F.normalize(torch.randn(2, 6), dim=-1))
    found = RetrievalLoss(CONTRAST)(**inputs)['moment']
    torch.testing.assert_close(found, slow_moment_loss(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('keep', [1.0, 0.5])
def test_videos_against_queries_both_ways(keep: float):
    """Of several captions of a video the likest counts, not their sum."""
    inputs = case()
    if keep < 1:  # both captions of the first video are half like that of the second
        near = torch.tensor([0.75, math.sqrt(1 - 0.75**2)])
        inputs['meaning'] = torch.stack([near, near, torch.tensor([1.0, 0.0])])
        inputs['memory'] = memory_of(torch.zeros(1, 2), torch.zeros(1, 6))
    found = RetrievalLoss(CONTRAST)(**inputs)['video']
    videos, owner = inputs['videos'], inputs['owner']
    less = TEMPERATURE * math.log(keep)
    forward = [
        contrast(videos[q, o][None], videos[q, 1 - o][None] + less) for q, o in enumerate(owner)
    ]
    backward = [contrast(videos[owner == v, v], videos[owner != v, v] + less) for v in (0, 1)]
    expected = (sum(forward) / 3 + sum(backward) / 2) / 2
    torch.testing.assert_close(found, expected)


def test_a_moment_against_all_queries():
    inputs = case()
    found = RetrievalLoss(CONTRAST)(**inputs)['query']
    near = inputs['moment'] @ inputs['query'].T
    losses = [contrast(near[q, q][None], near[q][torch.arange(3) != q]) for q in range(3)]
    torch.testing.assert_close(found, sum(losses) / 3)
    # Two sentences about one moment are both right.
    inputs['same'] = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    found = RetrievalLoss(CONTRAST)(**inputs)['query']
    losses[:2] = [contrast(near[q, :2], near[q, 2:]) for q in (0, 1)]
    torch.testing.assert_close(found, sum(losses) / 3)


def test_false_queries_are_negatives_of_every_moment():
    inputs = case()
    false = F.normalize(torch.randn(2, 6), dim=-1)
    found = RetrievalLoss(CONTRAST)(**inputs, false=false)['query']
    near, wrong = inputs['moment'] @ inputs['query'].T, inputs['moment'] @ false.T
    losses = [
        contrast(near[q, q][None], torch.cat([near[q][torch.arange(3) != q], wrong[q]]))
        for q in range(3)
    ]
    torch.testing.assert_close(found, sum(losses) / 3)


def test_the_same_event_elsewhere_is_not_a_negative():
    inputs = case()
    inputs['meaning'] = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]]), dim=-1)
    inputs['memory'] = memory_of(torch.tensor([[1.0, 0, 0]]), F.normalize(torch.randn(1, 6), dim=1))
    cells = inputs['cells'].requires_grad_()
    query = inputs['query'].requires_grad_()
    RetrievalLoss(CONTRAST)(**inputs)['moment'].backward()
    elsewhere = cells.grad[0, 1].abs(), cells.grad[2, 0].abs()
    assert max(grad.max() for grad in elsewhere) < 1e-5  # of queries 0 and 2, which say the same
    assert cells.grad[1, 1, :3].min() > 1e-3  # query 1 says something else
    assert query.grad[0].abs().max() < 1e-5  # the memory tells of query 0's event
    assert query.grad[1].abs().max() > 1e-3


def test_half_a_likeness_halves_a_negative():
    memory = memory_of(torch.tensor([[0.75, math.sqrt(1 - 0.75**2)]]), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(
        memory.soft_label(torch.tensor([[1.0, 0.0]]), memory.captions[:1]), torch.tensor([[0.5]])
    )
    inputs = dict(
        cells=torch.tensor([[[0.4]]]),
        videos=torch.zeros(1, 1),
        owner=torch.tensor([0]),
        positive=torch.ones(1, 1, dtype=torch.bool),
        counted=torch.ones(1, 1, dtype=torch.bool),
        cell_mask=torch.ones(1, 1, dtype=torch.bool),
        meaning=torch.tensor([[1.0, 0.0]]),
        query=torch.tensor([[0.6, 0.8]]),
        moment=torch.tensor([[1.0, 0.0]]),
        same=torch.ones(1, 1, dtype=torch.bool),
        memory=memory,
    )
    found = RetrievalLoss(CONTRAST)(**inputs)['moment']
    right, wrong = math.exp(0.4 / TEMPERATURE), math.exp(0.6 / TEMPERATURE)
    assert found.item() == pytest.approx(math.log((right + 0.5 * wrong) / right), rel=1e-5)


def test_what_touches_the_moment_and_what_is_masked_gets_no_gradient():
    inputs = case()
    inputs['cells'].requires_grad_()
    RetrievalLoss(CONTRAST)(**inputs)['moment'].backward()
    grad = inputs['cells'].grad
    assert grad[0, 0, 1] == 0  # touches the moment of query 0, and is not its own
    assert grad[0, 1, 3] == grad[1, 1, 3] == grad[2, 1, 3] == 0  # not a cell of video 1
    assert grad[0, 0, 2] > 0
    assert grad[0, 0, 0] < 0
