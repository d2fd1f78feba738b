"""Which cells answer for which moment."""

import pytest
import torch

from demul_mm.models.task_modules import PointGenerator, ScaleAssigner

POINTS = PointGenerator(4)(32)  # cells of 1, 2, 4 and 8 clips


def assign(*spans: tuple[float, float], clips: int = 32, **options):
    mask = POINTS.valid(torch.tensor([clips]))
    truth = torch.tensor([spans]).reshape(1, -1, 2)
    valid = torch.ones(1, len(spans), dtype=torch.bool)
    positive, own = ScaleAssigner(**options)(POINTS, mask, truth, valid)
    return positive[0], own[0]


@pytest.mark.parametrize(
    ('span', 'level', 'center'),
    [
        ((10.0, 14.0), 0, 12.0),  # four cells of one clip
        ((8.0, 16.0), 1, 12.0),  # four cells of two clips
        ((4.0, 20.0), 2, 12.0),
        ((0.0, 32.0), 3, 16.0),
        ((10.0, 10.4), 0, 10.2),  # nothing is too short for the finest level
    ],
)
def test_scale_by_hand(span, level, center):
    positive, _ = assign(span)
    assert bool(positive.any())
    cost = (POINTS.centers[positive] - center).abs() / POINTS.strides[positive]
    best = positive.nonzero()[:, 0][(POINTS.levels[positive] == level) & (cost <= 0.5)]
    assert len(best)  # the level's cells in the middle of the moment are positive
    # An octave off costs 1, so its neighbours are the only other levels below the limit.
    assert bool(((POINTS.levels[positive] - level).abs() <= 1).all())


def test_cost_by_hand():
    """A moment of 8 clips at [8, 16]: the second level fits; half a cell off costs a quarter."""
    positive, own = assign((8.0, 16.0), center_weight=0.5, max_cost=1.25)
    expected = []
    for level, center, stride in zip(POINTS.levels, POINTS.centers, POINTS.strides):
        cost = abs(int(level) - 1) + 0.5 * abs(center - 12) / stride
        expected.append(bool(cost <= 1.25))
    assert positive.tolist() == expected
    assert own.tolist() == [[8, 16]] * len(POINTS.centers)


def test_the_coarsest_level_takes_any_long_moment():
    points = PointGenerator(2)(32)  # its coarsest cells are two clips long
    mask = torch.ones(1, 48, dtype=torch.bool)
    truth = torch.tensor([[[0.0, 32.0]]])
    positive, _ = ScaleAssigner()(points, mask, truth, torch.ones(1, 1, dtype=torch.bool))
    assert points.levels[positive[0]].unique().tolist() == [1]


def test_every_moment_has_a_positive_and_no_masked_cell_is_one():
    rng = torch.Generator().manual_seed(0)
    clips = torch.randint(1, 33, (200,), generator=rng)
    spans = torch.rand(200, 3, 2, generator=rng).sort(-1).values * clips[:, None, None]
    spans[::7, 0, 1] = spans[::7, 0, 0]  # some are empty
    spans[::5, 1] = clips[::5, None].float()  # some lie at the very end
    valid = torch.rand(200, 3, generator=rng) < 0.6
    mask = POINTS.valid(clips)
    for options in (dict(), dict(max_cost=0.0), dict(span_strides=1.0, center_weight=2.0)):
        positive, own = ScaleAssigner(**options)(POINTS, mask, spans, valid)
        assert not positive[~mask].any()
        assert torch.equal(positive.any(1), valid.any(1))
        for r in range(200):
            if valid[r].any():
                chosen = {tuple(span) for span in own[r, positive[r]].tolist()}
                assert chosen <= {tuple(span) for span in spans[r, valid[r]].tolist()}
            for g in valid[r].nonzero()[:, 0]:  # also alone
                one, _ = ScaleAssigner(**options)(
                    POINTS,
                    mask[r : r + 1],
                    spans[r : r + 1, g : g + 1],
                    valid[r : r + 1, g : g + 1],
                )
                assert bool(one.any())
                assert not (one & ~positive[r]).any()


def test_a_cell_between_two_moments_takes_the_nearer():
    positive, own = assign((2.0, 6.0), (22.0, 26.0))
    for chosen, center, span in zip(positive, POINTS.centers, own):
        if chosen:
            assert span.tolist() == ([2, 6] if center < 14 else [22, 26])


def test_without_truth_nothing_is_positive():
    positive, own = assign()
    assert not positive.any()
    assert own.shape == (len(POINTS.centers), 2)
    mask = torch.ones(1, len(POINTS.centers), dtype=torch.bool)
    spans, valid = torch.rand(1, 2, 2), torch.zeros(1, 2, dtype=torch.bool)
    assert not ScaleAssigner()(POINTS, mask, spans, valid)[0].any()
