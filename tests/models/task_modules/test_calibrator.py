"""From a score to a probability."""

import pytest
import torch

from demul_mm.models.task_modules import ScoreCalibrator


def drawn(scale: float, bias: float, number: int = 20_000, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(number, generator=rng) - 2
    hits = torch.rand(number, generator=rng) < (scale * scores + bias).sigmoid()
    return scores, hits


@pytest.mark.parametrize(('scale', 'bias'), [(1.0, 0.0), (0.4, 1.5), (2.5, -1.0), (0.05, -3.0)])
def test_recovers_the_logistic_that_made_the_data(scale: float, bias: float):
    calibrator = ScoreCalibrator()
    calibrator.fit(*drawn(scale, bias))
    assert calibrator.scale.item() == pytest.approx(scale, rel=0.1, abs=0.02)
    assert calibrator.bias.item() == pytest.approx(bias, rel=0.1, abs=0.1)
    assert calibrator.num_fitted.item() == 20_000


def test_says_on_average_how_often_it_hits():
    scores, hits = drawn(0.7, -0.5)
    calibrator = ScoreCalibrator()
    calibrator.fit(scores, hits)
    fresh, fresh_hits = drawn(0.7, -0.5, seed=1)
    said = calibrator(fresh)
    assert said.mean().item() == pytest.approx(fresh_hits.float().mean().item(), abs=0.01)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        some = (said >= low) & (said < low + 0.2)
        assert said[some].mean().item() == pytest.approx(
            fresh_hits[some].float().mean().item(), abs=0.03
        )


@pytest.mark.parametrize(
    'hits',
    [
        lambda x: x > 0,  # a score that parts hits from misses
        lambda x: x < 0,  # one that says the contrary
        lambda x: torch.arange(len(x)) == 7,  # a single hit
        lambda x: torch.arange(len(x)) != 7,
        lambda x: torch.arange(len(x)) % 2 == 0,  # one that says nothing
    ],
)
@pytest.mark.parametrize('factor', [1.0, 1e-4, 1e4])
def test_stays_finite_and_keeps_the_order_whatever_it_is_fitted_on(hits, factor):
    scores = factor * torch.randn(200, generator=torch.Generator().manual_seed(2))
    calibrator = ScoreCalibrator()
    calibrator.fit(scores, hits(scores))
    assert 0 < calibrator.scale < float('inf')
    assert bool(calibrator.bias.isfinite())
    found = calibrator(scores.sort().values)
    assert bool((found.diff() >= 0).all())
    rate = hits(scores).float().mean().item()
    assert found.mean().item() == pytest.approx(rate, abs=0.02)


def test_equal_scores_give_the_rate_of_hits():
    calibrator = ScoreCalibrator()
    calibrator.fit(torch.full((8,), 3.0), torch.arange(8) < 2)
    assert calibrator(torch.tensor(3.0)).item() == pytest.approx(0.25, abs=0.01)


def test_unfitted_it_is_a_sigmoid():
    scores = torch.linspace(-5, 5, 11)
    assert torch.equal(ScoreCalibrator()(scores), scores.sigmoid())


def test_it_is_saved_with_the_weights_and_not_trained():
    calibrator, copy = ScoreCalibrator(), ScoreCalibrator()
    calibrator.fit(*drawn(0.4, 1.5))
    copy.load_state_dict(calibrator.state_dict())
    assert copy.scale == calibrator.scale != 1
    assert copy.bias == calibrator.bias != 0
    assert copy.num_fitted == 20_000
    assert not list(calibrator.parameters())


@pytest.mark.parametrize('hits', [[], [True], [True, True, True], [False, False]])
def test_it_takes_hits_and_misses(hits: list[bool]):
    message = rf'{len(hits)} predictions with {sum(hits)} hits: it takes hits and misses'
    with pytest.raises(ValueError, match=message):
        ScoreCalibrator().fit(torch.randn(len(hits)), torch.tensor(hits, dtype=torch.bool))


def test_match_gives_the_share_of_false_alarms_that_was_asked_for():
    rng = torch.Generator().manual_seed(0)
    calibrator, copy = ScoreCalibrator(), ScoreCalibrator()
    assert calibrator.match(torch.tensor([-9.0, 9.0])).tolist() == [1, 1]  # not fitted
    calibrator.fit_match(torch.randn(5000, generator=rng))
    copy.load_state_dict(calibrator.state_dict())
    found = copy.match(torch.randn(5000, generator=rng))
    for share in (0.01, 0.05, 0.1, 0.5, 0.9):
        assert (found < share).float().mean().item() == pytest.approx(share, abs=0.02)
    assert copy.match(torch.tensor([-9.0, 0.0, 9.0])).tolist() == pytest.approx(
        [0, 0.5, 1], abs=0.03
    )
    ordered = copy.match(torch.linspace(-3, 3, 50))
    assert bool((ordered.diff() >= 0).all())


def test_a_likeness_that_all_have_is_quite_usual():
    calibrator = ScoreCalibrator()
    calibrator.fit_match(torch.full((10,), 0.5))
    assert calibrator.match(torch.tensor([0.4, 0.5])).tolist() == [0, 1]
