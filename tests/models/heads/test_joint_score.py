"""The joint score."""

import pytest
import torch

from demul_mm.models.heads import TERMS, JointScore


@pytest.mark.parametrize('init', [(1.0, 2.0, 0.1, 0.5, 3.0), (100.0, 1e4, 19.9, 20.1, 1e-3)])
def test_it_starts_at_the_weights_it_is_given(init: tuple[float, ...]):
    assert JointScore(init=init).weights.tolist() == pytest.approx(init, rel=1e-5)


def test_it_is_the_weighted_sum_of_its_terms():
    torch.manual_seed(0)
    joint = JointScore(init=(1.0, 2.0, 0.1, 0.5, 3.0))
    terms = torch.randn(4, 6, 5)
    score, weighted = joint(terms)
    torch.testing.assert_close(score, (terms * torch.tensor([1.0, 2.0, 0.1, 0.5, 3.0])).sum(-1))
    torch.testing.assert_close(weighted.sum(-1), score)


def test_weights_stay_positive_whatever_training_does():
    joint = JointScore()
    optimizer = torch.optim.SGD(joint.parameters(), lr=5.0)
    for _ in range(30):
        optimizer.zero_grad()
        joint(torch.ones(3, 5))[0].sum().backward()  # pushes every weight down
        optimizer.step()
    assert bool((joint.weights >= 0).all())
    assert bool(joint.weights.isfinite().all())


@pytest.mark.parametrize('term', TERMS)
def test_a_term_switched_off_weighs_nothing(term: str):
    rest = tuple(t for t in TERMS if t != term)
    joint = JointScore(terms=rest)
    at = TERMS.index(term)
    assert joint.weights[at] == 0
    assert bool((joint.weights > 0).sum() == 4)
    terms = torch.randn(3, 5)
    score = joint(terms)[0]
    terms[:, at] += 7
    assert torch.equal(joint(terms)[0], score)
    joint(terms)[0].sum().backward()
    learned = [place for place in range(4) if place != at]  # the last is fitted, not learned
    assert (joint.raw.grad != 0).nonzero().flatten().tolist() == learned


def test_unknown_terms_are_refused():
    with pytest.raises(ValueError, match=r"unknown terms \['length'\]; allowed: semantic, quality"):
        JointScore(terms=('semantic', 'length'))


@pytest.mark.parametrize('init', [(1.0, 1.0), (1.0, 0.0, 1.0, 1.0, 1.0), (1, 1, -2, 1, 1)])
def test_weights_that_cannot_be_are_refused(init):
    with pytest.raises(ValueError, match=r'init .* five positive'):
        JointScore(init=init)
