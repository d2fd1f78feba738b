"""Losses on candidates, by hand-computed values and slow references."""

import math

import pytest
import torch
import torch.nn.functional as F

from demul_mm.models.losses import (
    FusionDistillation,
    ListwiseLoss,
    QualityFocalLoss,
    SpanDIoULoss,
    segment_logsumexp,
)
from demul_mm.models.losses.curves import boundary_loss


def test_quality_focal_loss_without_focus_is_cross_entropy():
    torch.manual_seed(0)
    logits, target = torch.randn(4, 7), torch.rand(4, 7)
    mask = torch.rand(4, 7) < 0.7
    found = QualityFocalLoss(beta=0.0)(logits, target, mask, torch.tensor(3.0))
    every = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    torch.testing.assert_close(found, every[mask].sum() / 3)


def test_quality_focal_loss_by_hand():
    """p = 1/2 and a target of .8: |.8 - .5|^2 * log 2."""
    logits, target = torch.zeros(1, 1), torch.tensor([[0.8]])
    one = torch.ones(1, 1, dtype=torch.bool)
    found = QualityFocalLoss(beta=2.0)(logits, target, one, torch.tensor(1))
    assert found.item() == pytest.approx(0.09 * math.log(2), rel=1e-5)


def test_quality_focal_loss_is_least_at_its_target():
    logits = torch.linspace(-3, 3, 61)[:, None]
    mask, number = torch.ones(1, 1, dtype=torch.bool), torch.tensor(1.0)
    for target in (0.2, 0.5, 0.9):
        wanted = torch.full((1, 1), target)
        losses = [QualityFocalLoss()(row[None], wanted, mask, number).item() for row in logits]
        best = logits[losses.index(min(losses))].sigmoid().item()
        assert best == pytest.approx(target, abs=0.03)


@pytest.mark.parametrize(
    ('pred', 'target', 'loss'),
    [
        ((0.2, 0.6), (0.2, 0.6), 0.0),
        # IoU 1/3, centres .2 apart in a hull of .6
        ((0.0, 0.4), (0.2, 0.6), 1 - 1 / 3 + (0.2 / 0.6) ** 2),
        # apart: IoU 0, centres .7 apart in a hull of 1
        ((0.0, 0.2), (0.6, 1.0), 1 + 0.7**2),
        # one inside the other, same centre
        ((0.4, 0.6), (0.0, 1.0), 1 - 0.2),
        # touching
        ((0.0, 0.5), (0.5, 1.0), 1 + 0.5**2),
    ],
)
def test_span_diou_by_hand(pred, target, loss):
    pred, target = torch.tensor([pred]), torch.tensor([target])
    found = SpanDIoULoss()(pred, target, torch.ones(1), torch.tensor(4.0))
    assert found.item() == pytest.approx(loss / 4, abs=1e-6)


def test_span_diou_of_empty_spans_has_finite_gradients():
    pred = torch.tensor([[0.3, 0.3], [0.0, 0.0], [0.2, 0.2]], requires_grad=True)
    target = torch.tensor([[0.3, 0.3], [0.0, 1.0], [0.5, 0.5]])
    SpanDIoULoss()(pred, target, torch.tensor([1.0, 1.0, 0.0]), torch.tensor(1.0)).backward()
    assert bool(pred.grad.isfinite().all())
    assert pred.grad[2].tolist() == [0, 0]


def test_segment_logsumexp_is_a_loop_over_segments():
    torch.manual_seed(0)
    logits = 30 * torch.randn(7, 5)
    segment = torch.tensor([2, 0, 2, 5, 0, 2, 6])
    found = segment_logsumexp(logits, segment)
    for row, number in enumerate(segment):
        together = logits[segment == number].flatten()
        torch.testing.assert_close(found[row], together.logsumexp(0))


def test_segment_logsumexp_has_the_gradient_of_a_softmax():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, requires_grad=True)
    segment = torch.tensor([1, 0, 1])
    segment_logsumexp(logits, segment)[0].backward()
    expected = torch.zeros(3, 4)
    expected[[0, 2]] = logits.detach()[[0, 2]].flatten().softmax(0).view(2, 4)
    torch.testing.assert_close(logits.grad, expected)


def listwise_case() -> tuple[torch.Tensor, ...]:
    """Two queries, the first with a rival video; the third pair's truth is unknown."""
    torch.manual_seed(1)
    iou = torch.tensor([[0.9, 0.6, 0.2, 0.8], [0.0] * 4, [0.55, 0.1, 0.0, 0.95], [0.0] * 4])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]).bool()
    query = torch.tensor([0, 0, 1, 3])
    return torch.randn(4, 4), iou, mask, query


def test_listwise_is_the_divergence_from_the_target():
    scores, iou, mask, query = listwise_case()
    found = ListwiseLoss(temperature=0.1, min_iou=0.5)(scores, iou, mask, query)
    losses = []
    for rows in ([0, 1], [2]):
        valid = mask[rows]
        log_prob = scores[rows][valid].log_softmax(0)
        weight = torch.where(iou[rows] >= 0.5, (iou[rows] / 0.1).exp(), 0.0)[valid]
        target = weight / weight.sum()
        losses.append(F.kl_div(log_prob, target, reduction='sum'))
    # The last pair's query has no target: it does not count.
    torch.testing.assert_close(found, (losses[0] + losses[1]) / 2)
    assert found > 0


def test_listwise_is_zero_at_the_target_alone():
    _, iou, mask, query = listwise_case()
    target = torch.where(iou >= 0.5, iou / 0.5, torch.tensor(-1e4))
    loss = ListwiseLoss(temperature=0.5, min_iou=0.5)
    assert loss(target, iou, mask, query).item() == pytest.approx(0, abs=1e-5)
    for seed in range(5):
        torch.manual_seed(seed)
        assert loss(target + torch.randn(4, 4), iou, mask, query) > 1e-5


def test_listwise_shares_its_target_among_all_videos_of_a_query():
    scores, iou = torch.tensor([[1.0, 0.0], [0.5, -1.0]]), torch.tensor([[0.9, 0.1], [0.6, 0.0]])
    every = torch.ones(2, 2, dtype=torch.bool)
    together = ListwiseLoss()(scores, iou, every, torch.tensor([0, 0]))
    row = ListwiseLoss()(scores.view(1, 4), iou.view(1, 4), every.view(1, 4), torch.tensor([0]))
    torch.testing.assert_close(together, row)


def test_listwise_without_any_target_is_zero():
    scores, iou, mask, query = listwise_case()
    scores.requires_grad_()
    loss = ListwiseLoss()(scores, iou * 0, mask, query)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_listwise_gradient_passes_over_masked_candidates():
    scores, iou, mask, query = listwise_case()
    scores.requires_grad_()
    ListwiseLoss()(scores, iou, mask, query).backward()
    assert not scores.grad[~mask].any()
    assert bool(scores.grad[:3][mask[:3]].all())


def test_distillation_is_the_divergence_of_each_query_over_its_videos() -> None:
    scores, _, mask, query = listwise_case()
    similarity = torch.rand(4, 4, generator=torch.Generator().manual_seed(5)) * 2 - 1
    loss = FusionDistillation(temperature=0.1)
    expected = []
    for rows in ([0, 1], [2], [3]):
        valid = mask[rows]
        student = (similarity[rows][valid] / 0.1).log_softmax(0)
        teacher = scores[rows][valid].softmax(0)
        expected.append(F.kl_div(student, teacher, reduction='sum'))
    found = loss(similarity, scores, mask, query)
    torch.testing.assert_close(3 * found, sum(expected))


def test_distillation_teaches_the_similarity_and_not_the_score() -> None:
    scores, _, mask, query = listwise_case()
    similarity = torch.zeros(4, 4, requires_grad=True)
    scores.requires_grad_()
    FusionDistillation()(similarity, scores, mask, query).backward()
    assert scores.grad is None
    assert bool(similarity.grad[mask].any())
    assert not similarity.grad[~mask].any()
    # A student that agrees has nothing to learn.
    agreed = (scores.detach() * 0.07).requires_grad_()
    loss = FusionDistillation()(agreed, scores, mask, query)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_borders_are_wanted_in_the_clips_inside_the_moment() -> None:
    curves = torch.zeros(2, 1, 8, requires_grad=True)
    mask, truth = torch.ones(1, 8, dtype=torch.bool), torch.tensor([[[2.0, 5.0]]])
    boundary_loss(*curves, mask, torch.tensor([0]), truth, torch.ones(1, 1).bool()).backward()
    wanted = 1 / 8 - curves.grad[:, 0]  # the gradient of a cross-entropy at equal logits
    assert wanted.argmax(1).tolist() == [2, 4]
    torch.testing.assert_close(wanted[0, 1], wanted[0, 3])
    torch.testing.assert_close(wanted[1, 3], wanted[1, 5])
