"""The memory of how long moments last: against a slow reference, and what it leaves alone."""

import math

import pytest
import torch
import torch.nn.functional as F

from demul_mm.models.task_modules import LengthMemory
from demul_mm.models.task_modules.length_memory import FLOOR


def filled(number: int = 7, width: int = 5) -> LengthMemory:
    rng = torch.Generator().manual_seed(0)
    memory = LengthMemory(width, size=9, temperature=0.2, bandwidth=0.3)
    captions = F.normalize(torch.randn(number, width, generator=rng), dim=-1)
    memory.fill(captions, torch.rand(number, generator=rng) * 20 + 1)
    memory.weight.fill_(0.7)
    return memory


def test_it_is_the_estimate_of_its_formula() -> None:
    memory = filled()
    rng = torch.Generator().manual_seed(1)
    asked = F.normalize(torch.randn(3, 5, generator=rng), dim=-1)
    seconds = torch.rand(3, 4, generator=rng) * 30 + 0.5
    found = memory(asked, seconds)
    for r in range(3):
        weight = [math.exp(float(asked[r] @ c) / 0.2) for c in memory.captions[:7]]
        for m in range(4):
            alike = [
                math.exp(-((math.log(seconds[r, m]) - float(length)) ** 2) / (2 * 0.3**2))
                for length in memory.lengths[:7]
            ]
            mean = sum(w * k for w, k in zip(weight, alike)) / sum(weight)
            assert float(found[r, m]) == pytest.approx(0.7 * math.log(mean + FLOOR), abs=0.02)


def test_like_sentences_decide() -> None:
    memory = LengthMemory(2)
    memory.fill(torch.eye(2), torch.tensor([3.0, 30.0]))
    memory.weight.fill_(1.0)
    short, long = memory(torch.eye(2), torch.tensor([[3.0, 30.0], [3.0, 30.0]]))
    assert short[0] > short[1]
    assert long[1] > long[0]
    assert float(short[0]) == pytest.approx(float(long[1]), abs=0.01)


def test_empty_or_without_weight_it_adds_nothing() -> None:
    seconds = torch.rand(2, 3) * 9
    assert LengthMemory(4)(torch.randn(2, 4), seconds).eq(0).all()
    memory = filled()
    memory.weight.fill_(0.0)
    assert memory(torch.randn(2, 5), seconds).eq(0).all()


def test_lengths_that_cannot_be_are_finite() -> None:
    found = filled()(torch.zeros(1, 5), torch.tensor([[0.0, 1e-9, 1e9]]))
    assert found.isfinite().all()
    assert found.min() >= 0.7 * math.log(FLOOR) - 1e-6


def test_filling_again_forgets_what_was_there() -> None:
    memory = filled()
    memory.fill(torch.eye(5)[:2], torch.tensor([2.0, 4.0]))
    fresh = LengthMemory(5, temperature=0.2)
    fresh.fill(torch.eye(5)[:2], torch.tensor([2.0, 4.0]))
    fresh.weight.fill_(0.7)
    asked, seconds = torch.eye(5)[1:3], torch.rand(2, 3) + 1
    torch.testing.assert_close(memory(asked, seconds), fresh(asked, seconds))


@pytest.mark.parametrize('name', ['temperature', 'bandwidth'])
def test_bad_options(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} is 0'):
        LengthMemory(**{name: 0})
