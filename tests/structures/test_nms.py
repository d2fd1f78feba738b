"""NMS: hand-computed values, laws, and a slow reference beside the batched form."""

import math

import pytest
import torch

from demul_mm.registry import TASK_UTILS
from demul_mm.structures.nms import MomentNMS, SoftNMS, vote_boundaries


def _iou(a: list[float], b: list[float]) -> float:
    inter = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return inter / hull if hull > 0 else 0.0


def _slow(spans, scores, mask, max_keep, decay, min_score=-math.inf):
    """One row, plain Python: ``decay(iou, score)`` gives the new score, or None to suppress."""
    left = {i: s for i, s in enumerate(scores) if mask[i]}
    kept = []
    while left and len(kept) < max_keep:
        best = max(left, key=lambda i: (left[i], -i))
        score = left.pop(best)
        if score < min_score:
            break
        kept.append((best, score))
        decayed = {i: decay(_iou(spans[best], spans[i]), s) for i, s in left.items()}
        left = {i: s for i, s in decayed.items() if s is not None}
    return kept


def _random_rows(rows: int, moments: int, seed: int):
    """Spans and scores on a coarse grid, so that equal scores and IoUs at a threshold occur."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.randint(0, 9, (rows, moments, 2), generator=generator).sort(-1).values
    spans = times.double()
    spans[..., 1] += 1
    scores = torch.randint(0, 6, (rows, moments), generator=generator).double() / 5
    mask = torch.rand(rows, moments, generator=generator) > 0.2
    mask[0] = False
    return spans, scores, mask


DECAYS = {
    'hard': (
        dict(type='MomentNMS', iou_thr=0.5, max_keep=7),
        lambda iou, s: None if iou > 0.5 else s,
        -math.inf,
    ),
    'gaussian': (
        dict(type='SoftNMS', sigma=0.5, min_score=0.05, max_keep=7),
        lambda iou, s: s * math.exp(-iou * iou / 0.5),
        0.05,
    ),
}


@pytest.mark.parametrize('name', DECAYS)
@pytest.mark.parametrize('seed', range(5))
def test_batched_form_equals_the_slow_reference(name, seed):
    cfg, decay, min_score = DECAYS[name]
    spans, scores, mask = _random_rows(rows=12, moments=20, seed=seed)
    out_spans, out_scores, valid, index = TASK_UTILS.build(cfg)(spans, scores, mask)
    assert out_spans.shape == (12, 7, 2)
    assert out_scores.shape == valid.shape == index.shape == (12, 7)
    for r in range(12):
        expected = _slow(
            spans[r].tolist(), scores[r].tolist(), mask[r].tolist(), 7, decay, min_score
        )
        assert valid[r].tolist() == [k < len(expected) for k in range(7)]
        assert index[r][valid[r]].tolist() == [i for i, _ in expected]
        torch.testing.assert_close(
            out_scores[r][valid[r]], torch.tensor([s for _, s in expected], dtype=torch.float64)
        )
        assert torch.equal(out_spans[r][valid[r]], spans[r][index[r][valid[r]]])


def test_hand_computed_greedy_and_the_threshold_is_inclusive():
    # IoU with (0, 10): 0.5 exactly for (0, 5), 0.6 for (4, 10), 0 for (20, 30).
    spans = torch.tensor([[[0.0, 10.0], [0.0, 5.0], [4.0, 10.0], [20.0, 30.0]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    _, _, valid, index = MomentNMS(iou_thr=0.5, max_keep=4)(spans, scores, mask)
    assert index[valid].tolist() == [0, 1, 3]


def test_hand_computed_soft():
    spans = torch.tensor([[[0.0, 10.0], [0.0, 5.0], [20.0, 30.0]]])
    scores = torch.tensor([[0.9, 0.8, 0.6]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    _, soft, _, index = SoftNMS(sigma=0.5, max_keep=3)(spans, scores, mask)
    assert index.tolist() == [[0, 2, 1]]
    torch.testing.assert_close(soft, torch.tensor([[0.9, 0.6, 0.8 * math.exp(-0.5)]]))


def test_equal_scores_are_taken_by_index():
    spans = torch.tensor([[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]])
    scores = torch.full((1, 4), 0.5)
    mask = torch.tensor([[False, True, True, True]])
    for suppress in (MomentNMS(max_keep=3), SoftNMS(max_keep=3)):
        assert suppress(spans, scores, mask)[3].tolist() == [[1, 2, 3]]


def test_kept_moments_overlap_by_at_most_the_threshold():
    spans, scores, mask = _random_rows(rows=8, moments=30, seed=11)
    kept, _, valid, _ = MomentNMS(iou_thr=0.4, max_keep=10)(spans, scores, mask)
    for row, ok in zip(kept, valid):
        row = row[ok].tolist()
        pairs = [_iou(a, b) for i, a in enumerate(row) for b in row[:i]]
        assert all(iou <= 0.4 for iou in pairs)


def test_padding_changes_nothing():
    spans, scores, mask = _random_rows(rows=6, moments=15, seed=3)
    mask[:] = True
    nms = MomentNMS(iou_thr=0.45, max_keep=5, vote_iou=0.6)
    alone = nms(spans, scores, mask)
    nan = float('nan')
    padded = nms(
        torch.cat([spans, torch.full((6, 4, 2), nan, dtype=spans.dtype)], 1),
        torch.cat([scores, torch.full((6, 4), 9.0, dtype=scores.dtype)], 1),
        torch.cat([mask, torch.zeros(6, 4, dtype=torch.bool)], 1),
    )
    for a, b in zip(alone, padded):
        torch.testing.assert_close(a, b)


def test_fewer_candidates_than_max_keep_and_none_at_all():
    spans, scores, valid, index = MomentNMS(max_keep=5)(
        torch.tensor([[[0.0, 1.0]]]), torch.tensor([[-3.0]]), torch.tensor([[True]])
    )
    assert spans.tolist() == [[[0.0, 1.0]]]
    assert scores.tolist() == [[-3.0]]
    assert valid.tolist() == [[True]]
    assert index.tolist() == [[0]]
    nothing = MomentNMS()(
        torch.zeros(2, 0, 2), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)
    )
    assert [tuple(t.shape) for t in nothing] == [(2, 0, 2), (2, 0), (2, 0), (2, 0)]


def test_voting_is_the_weighted_mean_of_those_that_agree():
    spans = torch.tensor([[[0.0, 10.0], [0.0, 8.0], [50.0, 60.0]]])
    scores = torch.tensor([[0.9, 0.5, 0.8]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    kept, _, _, index = MomentNMS(iou_thr=0.5, max_keep=2, vote_iou=0.7)(spans, scores, mask)
    # (0, 10) weighs .9 * 1, (0, 8) weighs .5 * .8: the end is (9 + 3.2) / 1.3.
    assert index.tolist() == [[0, 2]]
    torch.testing.assert_close(kept, torch.tensor([[[0.0, 12.2 / 1.3], [50.0, 60.0]]]))


def test_without_a_voter_a_span_stays():
    kept = torch.tensor([[[1.0, 2.0]]])
    spans, scores = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[0.0]])
    moved = vote_boundaries(kept, spans, scores, torch.tensor([[True]]), iou_thr=0.5)
    assert torch.equal(moved, kept)


def test_what_is_masked_has_no_vote():
    kept, spans = torch.tensor([[[0.0, 10.0]]]), torch.tensor([[[0.0, 10.0], [2.0, 10.0]]])
    mask = torch.tensor([[True, False]])
    assert torch.equal(vote_boundaries(kept, spans, torch.ones(1, 2), mask, iou_thr=0.5), kept)


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (MomentNMS, dict(iou_thr=1.5), r'iou_thr is 1.5; it must be in \[0, 1\]'),
        (MomentNMS, dict(max_keep=0), 'max_keep is 0; it must be at least 1'),
        (MomentNMS, dict(vote_iou=0.0), 'vote_iou is 0.0'),
        (SoftNMS, dict(sigma=0.0), 'sigma is 0.0; it must be positive'),
    ],
)
def test_wrong_options_say_what_is_allowed(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_soft_nms_refuses_logits():
    with pytest.raises(ValueError, match='apply a sigmoid'):
        SoftNMS()(torch.zeros(1, 1, 2), torch.tensor([[-1.0]]), torch.tensor([[True]]))
