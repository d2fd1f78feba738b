"""The prior of moments: a mixture of its own places and the candidates that were found."""

import pytest
import torch

from demul_mm.models.task_modules import ExpectedRecall, MomentPrior

PLACES = [([0.8, 0.9], 10), ([0.4, 0.7], 30), ([0.0, 0.2], 60)]


def filled(weight: float = 0.2) -> MomentPrior:
    prior = MomentPrior(4)
    prior.fill(torch.tensor([[0.0, 0.2], [0.5, 1.0], [0.0, 0.2], [0.1, 0.9], [0.0, 0.2]]))
    prior.weight.fill_(weight)
    return prior


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two pairs of five candidates, of which the second lacks two."""
    rng = torch.Generator().manual_seed(0)
    spans = torch.rand(2, 5, 2, generator=rng).sort(-1).values
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    return spans, torch.randn(2, 5, generator=rng) * 3, mask


def test_few_moments_are_remembered_as_they_are() -> None:
    prior = filled()
    torch.testing.assert_close(prior.spans[:3], torch.tensor([[0.0, 0.2], [0.1, 0.9], [0.5, 1.0]]))
    torch.testing.assert_close(prior.share, torch.tensor([0.6, 0.2, 0.2, 0.0]))


def test_of_many_moments_means_are_kept() -> None:
    rng = torch.Generator().manual_seed(0)
    near = [torch.tensor(place) + 0.01 * torch.rand(n, 2, generator=rng) for place, n in PLACES]
    prior = MomentPrior(3)
    prior.fill(torch.cat(near))
    order = prior.share.argsort()
    torch.testing.assert_close(prior.share[order], torch.tensor([0.1, 0.3, 0.6]))
    torch.testing.assert_close(prior.spans[order], torch.stack([each.mean(0) for each in near]))
    again = MomentPrior(3)
    again.fill(torch.cat(near))
    torch.testing.assert_close(again.spans, prior.spans, rtol=0, atol=0)


def test_it_is_the_mixture_of_its_formula() -> None:
    prior, (spans, scores, mask) = filled(0.2), pairs()
    found, rated, valid = prior(spans, scores, mask, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(found[:, :5], spans)
    torch.testing.assert_close(found[1, 5:8], prior.spans[:3] / 2)
    assert valid.tolist() == [[*row, True, True, True, False] for row in mask.tolist()]
    for r in range(2):
        before = scores[r][mask[r]].exp()
        after = rated[r][valid[r]].exp()
        number = len(before)
        torch.testing.assert_close(after.sum(), before.sum())  # videos compete as before
        torch.testing.assert_close(after[:number], 0.8 * before)
        torch.testing.assert_close(
            after[number:] / after.sum(), 0.2 * torch.tensor([0.6, 0.2, 0.2])
        )


def test_what_is_sure_answers_first_and_the_places_after_it() -> None:
    prior = MomentPrior(2)
    prior.fill(torch.tensor([[0.0, 0.1], [0.6, 0.8], [0.6, 0.8]]))
    prior.weight.fill_(0.1)
    spans = torch.tensor([[[0.3, 0.4], [0.31, 0.4], [0.3, 0.41]]])
    scores, mask = torch.tensor([[2.0, 1.9, 1.8]]), torch.ones(1, 3, dtype=torch.bool)
    given = prior(spans, scores, mask, torch.ones(1))
    kept, _, _, index = ExpectedRecall(max_keep=3)(*given)
    assert index[0, 1:].tolist() == [4, 3]
    torch.testing.assert_close(kept[0, 1:], torch.tensor([[0.6, 0.8], [0.0, 0.1]]))


def test_unfilled_or_without_weight_it_adds_nothing() -> None:
    for prior in (MomentPrior(), filled(0.0)):
        for given, got in zip(pairs(), prior(*pairs(), torch.ones(2))):
            assert got.shape == given.shape
            torch.testing.assert_close(got, given, rtol=0, atol=0)


def test_a_pair_without_candidates_gets_no_place() -> None:
    spans, scores, mask = pairs()
    _, rated, valid = filled()(spans, scores, mask & torch.tensor([[True], [False]]), torch.ones(2))
    assert not valid[1].any()
    assert rated[0].isfinite()[valid[0]].all()


def test_filling_again_forgets_what_was_there() -> None:
    prior = filled()
    prior.fill(torch.tensor([[0.2, 0.3]]))
    assert prior.share.tolist() == [1, 0, 0, 0]
    assert prior.spans[1:].eq(0).all()


def test_bad_options() -> None:
    with pytest.raises(ValueError, match='size is 0'):
        MomentPrior(0)
