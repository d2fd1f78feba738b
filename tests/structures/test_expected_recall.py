"""Selection by expected recall: a slow reference, laws, and what it refuses."""

import math

import pytest
import torch

from demul_mm.registry import TASK_UTILS
from demul_mm.structures.expected_recall import SLACK, ExpectedRecall
from demul_mm.structures.nms import MomentNMS
from tests.structures.test_nms import _iou, _random_rows


def expected_recall(answers, spans, shares, ious):
    """Mean over ``ious`` of the share of candidates that any answer hits, each being the truth."""
    total = 0.0
    for threshold in ious:
        for span, share in zip(spans, shares):
            hits = [(_iou(answer, span) - threshold) / (2 * SLACK) + 0.5 for answer in answers]
            total += share * min(1.0, max(0.0, *hits)) / len(ious)
    return total


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('ious', [(0.5,), (0.3, 0.5, 0.7)])
def test_each_moment_is_the_one_that_adds_most(seed, ious):
    spans, scores, mask = _random_rows(rows=6, moments=12, seed=seed)
    scores = 4 * scores
    kept, worth, valid, index = ExpectedRecall(ious, max_keep=4)(spans, scores, mask)
    assert not valid[0].any()
    assert worth[0].eq(-torch.inf).all()
    assert index[0].eq(0).all()
    for r in range(1, 6):
        rows = [i for i in range(12) if mask[r, i]]
        places, shares = spans[r][rows].tolist(), scores[r][rows].exp().tolist()
        answers: list[list[float]] = []
        before = 0.0
        for k in range(min(4, len(rows))):
            if not valid[r, k]:
                continue
            gains = [expected_recall([*answers, p], places, shares, ious) - before for p in places]
            gained = expected_recall([*answers, kept[r, k].tolist()], places, shares, ious) - before
            assert gained == pytest.approx(max(gains), abs=1e-6)
            assert worth[r, k].exp() == pytest.approx(gained, rel=1e-5)
            assert kept[r, k].tolist() == spans[r, index[r, k]].tolist()
            answers.append(kept[r, k].tolist())
            before += gained


@pytest.mark.parametrize('temperature', [1.0, 2.0])
def test_moments_apart_keep_order_and_scores(temperature):
    spans = torch.tensor([[[0.0, 1.0], [2.0, 3.0], [4.0, 6.0]]])
    scores = torch.tensor([[-3.0, 2.0, -500.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    _, worth, valid, index = ExpectedRecall(temperature=temperature)(spans, scores, mask)
    assert index[0, :2].tolist() == [1, 0]
    assert worth[0, :2].tolist() == pytest.approx([2.0, -3.0])
    assert valid.tolist() == [[True, True, False]]  # beyond float32: adds nothing


def test_a_place_on_which_many_agree_beats_a_better_score_alone():
    spans = torch.tensor([[[0.0, 10.0], [20.0, 30.0], [20.5, 30.0], [20.0, 30.5]]])
    scores, mask = torch.tensor([[0.5, 0.0, 0.1, 0.0]]), torch.ones(1, 4, dtype=torch.bool)
    assert MomentNMS(0.5)(spans, scores, mask)[3][0, 0] == 0
    _, worth, _, index = ExpectedRecall()(spans, scores, mask)
    assert index[0, :2].tolist() == [2, 0]
    assert worth[0, 0] == pytest.approx(math.log(2 + math.exp(0.1)), abs=1e-6)


@pytest.mark.parametrize('seed', range(3))
def test_scores_never_rise_and_padding_changes_nothing(seed):
    spans, scores, mask = _random_rows(rows=8, moments=15, seed=seed)
    choose = ExpectedRecall(max_keep=6)
    kept, worth, valid, index = choose(spans, scores, mask)
    assert (worth[:, 1:] <= worth[:, :-1] + 1e-9)[valid[:, 1:]].all()
    assert not (valid[:, 1:] & ~valid[:, :-1]).any()  # the valid ones come first
    more = torch.cat([spans, torch.full((8, 4, 2), 3.0).double()], 1)
    padded = choose(
        more,
        torch.cat([scores, torch.full((8, 4), 99.0).double()], 1),
        torch.cat([mask, torch.zeros(8, 4, dtype=torch.bool)], 1),
    )
    for one, two in zip((kept, worth, valid, index), padded):
        torch.testing.assert_close(one, two)


def test_a_shift_of_all_scores_shifts_the_worth():
    spans, scores, mask = _random_rows(rows=8, moments=15, seed=3)
    choose = ExpectedRecall(temperature=0.5)
    one, two = choose(spans, scores, mask), choose(spans, scores + 40, mask)
    torch.testing.assert_close(one[3], two[3])
    torch.testing.assert_close(one[1] + 40, two[1])


def test_only_the_best_candidates_count():
    spans, scores, mask = _random_rows(rows=8, moments=40, seed=4)
    scores = scores + torch.arange(40) * 1e-3  # no ties
    few = ExpectedRecall(max_keep=3, num_candidates=10)(spans, scores, mask)
    best = scores.masked_fill(~mask, -torch.inf).topk(10).indices
    only = torch.zeros_like(mask).scatter(1, best, True) & mask
    for one, two in zip(few, ExpectedRecall(max_keep=3)(spans, scores, only)):
        torch.testing.assert_close(one, two)


def test_no_candidates_at_all():
    kept, worth, valid, index = ExpectedRecall()(
        torch.zeros(2, 0, 2), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)
    )
    assert kept.shape == (2, 0, 2)
    assert worth.shape == valid.shape == index.shape == (2, 0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ious=()), 'at least one'),
        (dict(ious=(0.5, 1.5)), r'\(0, 1\]'),
        (dict(max_keep=0), 'max_keep is 0'),
        (dict(num_candidates=0), 'num_candidates is 0'),
        (dict(temperature=0.0), 'positive'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TASK_UTILS.build(dict(type='ExpectedRecall', **options))
