"""Losses on the shared and the private space, by hand."""

import math

import pytest
import torch

from demul_mm.models.losses import (
    CrossCorrelationLoss,
    ModalityConfusionLoss,
    MultiPositiveInfoNCE,
)


def test_infonce_with_one_positive_is_cross_entropy():
    torch.manual_seed(0)
    similarity = torch.rand(4, 4) * 2 - 1
    positive = torch.eye(4, dtype=torch.bool)
    every = torch.ones_like(positive)
    found = MultiPositiveInfoNCE(temperature=0.1)(similarity, positive, every)
    expected = torch.nn.functional.cross_entropy(similarity / 0.1, torch.arange(4))
    torch.testing.assert_close(found, expected)


def test_infonce_by_hand():
    """Positives share the numerator; a masked column is not there; soft labels weigh negatives."""
    ln = math.log
    similarity = torch.tensor([[ln(3.0), ln(2.0), ln(5.0), ln(7.0)], [0.0, 0.0, 0.0, 0.0]])
    positive = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    loss = MultiPositiveInfoNCE(temperature=1.0, loss_weight=2.0)
    # The second row has no positive and does not count.
    assert loss(similarity, positive, mask).item() == pytest.approx(2 * ln(10 / 5), rel=1e-5)
    soft = torch.tensor([[0.9, 0.0, 0.6, 0.0], [0.0] * 4])  # no matter what it says of positives
    expected = 2 * ln((5 + 0.4 * 5) / 5)
    assert loss(similarity, positive, mask, soft).item() == pytest.approx(expected, rel=1e-5)
    certain = torch.ones(2, 4)
    assert loss(similarity, positive, mask, certain).item() == pytest.approx(0, abs=1e-5)


def test_infonce_asks_that_positives_win_together():
    """One perfect positive is enough: the other's gradient vanishes."""
    similarity = torch.tensor([[1.0, -1.0, -1.0]], requires_grad=True)
    positive = torch.tensor([[True, True, False]])
    MultiPositiveInfoNCE(temperature=0.05)(similarity, positive, positive | True).backward()
    assert similarity.grad.abs().max() < 1e-6


def test_infonce_without_positives_is_zero():
    similarity = torch.randn(3, 5, requires_grad=True)
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    for mask in (nothing, ~nothing):
        loss = MultiPositiveInfoNCE()(similarity, nothing, mask)
        loss.backward()
        assert loss.item() == 0
        assert not similarity.grad.any()


def test_cross_correlation_with_no_private_dimension_is_zero():
    shared = torch.randn(4, 3, requires_grad=True)
    loss = CrossCorrelationLoss()(shared, torch.zeros(4, 0))
    loss.backward()
    assert loss.item() == 0
    assert not shared.grad.any()


def test_cross_correlation_of_equal_and_of_independent_dimensions():
    x = torch.tensor([[1.0], [2.0], [4.0], [-3.0]])
    loss = CrossCorrelationLoss()
    assert loss(x, x).item() == pytest.approx(1)
    assert loss(x, 5 - 3 * x).item() == pytest.approx(1)  # nor shift, scale or sign matter
    even, odd = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.tensor([[1.0], [-1.0]] * 2)
    assert loss(even, odd).item() == pytest.approx(0, abs=1e-12)
    both = torch.cat([even, odd], 1)
    # Of the four pairs of dimensions, two are equal.
    assert loss(both, both).item() == pytest.approx(0.5)
    torch.manual_seed(0)
    assert loss(torch.randn(20_000, 4), torch.randn(20_000, 3)).item() < 1e-3


def test_masked_rows_have_no_say_in_the_correlation():
    torch.manual_seed(0)
    shared, private, mask = torch.randn(9, 3), torch.randn(9, 2), torch.arange(9) < 6
    shared[6:], private[6:] = 40, -70
    loss = CrossCorrelationLoss()
    torch.testing.assert_close(loss(shared, private, mask), loss(shared[:6], private[:6]))


@pytest.mark.parametrize('rows', [0, 1])
def test_cross_correlation_of_too_few_rows_is_zero(rows: int):
    shared = torch.randn(rows, 3, requires_grad=True)
    loss = CrossCorrelationLoss()(shared, torch.randn(rows, 2))
    loss.backward()
    assert loss.item() == 0
    assert not shared.grad.any()


def test_cross_correlation_of_a_constant_is_finite():
    shared = torch.ones(5, 3, requires_grad=True)
    loss = CrossCorrelationLoss()(shared, torch.randn(5, 2))
    loss.backward()
    assert loss.item() == 0
    assert bool(shared.grad.isfinite().all())


def test_confusion_is_log_2_where_modalities_cannot_be_told():
    loss = ModalityConfusionLoss(dim=4)
    torch.nn.init.zeros_(loss.classifier.weight)
    torch.nn.init.zeros_(loss.classifier.bias)
    found = loss(torch.randn(7, 4), torch.randn(3, 4))
    assert found.item() == pytest.approx(math.log(2))


def test_confusion_reverses_the_gradient_for_the_features_alone():
    torch.manual_seed(0)
    loss = ModalityConfusionLoss(dim=4)
    video, query = torch.randn(5, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    (2 * loss(video, query)).backward()
    reversed_video, reversed_query = video.grad.clone(), query.grad.clone()
    weight = loss.classifier.weight.grad.clone()
    video.grad = query.grad = None
    loss.zero_grad()
    logits = loss.classifier(torch.cat([video, query])).squeeze(1)
    softplus = torch.nn.functional.softplus
    plain = softplus(-logits[:5]).mean() + softplus(logits[5:]).mean()
    plain.backward()
    torch.testing.assert_close(reversed_video, -video.grad)
    torch.testing.assert_close(reversed_query, -query.grad)
    torch.testing.assert_close(weight, loss.classifier.weight.grad)
