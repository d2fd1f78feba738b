"""Pairs of queries and videos, as a corpus search brings them together."""

import pytest
import torch
from torch import Tensor

from demul_mm.models.heads import TERMS
from demul_mm.models.localizers import DeMUL
from demul_mm.models.localizers.pairs import chunk_pairs, hardest_negatives, own_pairs, true_spans
from demul_mm.models.losses.targets import same_moment
from demul_mm.structures import MomentCandidates
from tests.models.tiny import SENTENCES, tiny_data, tiny_sample

CLOSE = dict(rtol=1e-4, atol=1e-5)
BOUNDARY = TERMS.index('boundary')


def localize(model: DeMUL, *pairs: tuple[int, int]) -> MomentCandidates:
    """Candidates of (video, query) pairs."""
    with torch.no_grad():
        videos = model.encode_video(model.data_preprocessor(tiny_data())['inputs'])
        queries = model.encode_query(list(SENTENCES))
        video, query = torch.tensor(pairs).T
        return model.localize(videos, queries, video, query)


def test_order_of_the_pairs_does_not_matter(trained: DeMUL):
    pairs = [(0, 0), (1, 0), (2, 3), (0, 3), (1, 4), (2, 0)]
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    found = localize(trained, *pairs)
    moved = localize(trained, *(pairs[i] for i in order))
    for one, two in zip(found, moved):
        torch.testing.assert_close(two.float(), one[order].float(), **CLOSE)


def test_other_queries_do_not_matter(trained: DeMUL):
    together = localize(trained, (0, 0), (1, 2), (2, 4), (1, 4))
    torch.testing.assert_close(localize(trained, (1, 2)).scores[0], together.scores[1], **CLOSE)
    torch.testing.assert_close(localize(trained, (0, 0)).terms[0], together.terms[0], **CLOSE)


def test_videos_of_one_query_share_the_start_and_end_probability(trained: DeMUL):
    """One more video for a query takes probability from the others, from each candidate alike."""
    alone = localize(trained, (0, 1))
    shared = localize(trained, (0, 1), (1, 1), (2, 1))
    difference = shared.terms[0] - alone.terms[0]
    rest = [i for i in range(len(TERMS)) if i != BOUNDARY]
    torch.testing.assert_close(difference[:, rest], torch.zeros(12, 4), rtol=0, atol=1e-5)
    assert difference[:, BOUNDARY].max() < -1e-3
    assert difference[:, BOUNDARY].std() < 1e-5
    # How much is told, so that its score without the others is known, too.
    torch.testing.assert_close(shared.alone[0], -difference[:, BOUNDARY].mean(), **CLOSE)
    assert alone.alone.abs().max() < 1e-5
    # So the order within a video stays.
    assert torch.equal(alone.scores[0].argsort(), shared.scores[0].argsort())
    torch.testing.assert_close(alone.spans[0], shared.spans[0], **CLOSE)


def test_the_same_pair_twice_has_half_the_probability_each(trained: DeMUL):
    one, two = localize(trained, (0, 1)), localize(trained, (0, 1), (0, 1))
    weight = trained.head.joint.weights[BOUNDARY].item()
    expected = one.terms[0, :, BOUNDARY] - weight * torch.tensor(2.0).log()
    for row in (0, 1):
        torch.testing.assert_close(two.terms[row, :, BOUNDARY], expected, **CLOSE)


def test_candidates_are_spans_in_the_unit_interval(trained: DeMUL):
    found = localize(trained, *((v, q) for v in range(3) for q in range(5)))
    start, end = found.spans[found.mask].unbind(-1)
    assert bool(((start >= 0) & (start <= end) & (end <= 1)).all())
    assert bool(found.scores.isfinite().all())
    assert bool(found.mask.any(1).all())


# -- which query meets which video ---------------------------------------------------------------


def test_own_pairs():
    cpu = torch.device('cpu')
    assert own_pairs([2, 0, 3], cpu).tolist() == [0, 0, 2, 2, 2]
    assert own_pairs([], cpu).tolist() == []
    assert own_pairs([0], cpu).tolist() == []


def test_true_moments_are_scaled_by_the_extent_and_clipped():
    one, two = tiny_sample(20.0, SENTENCES[:2]), tiny_sample(10.0, SENTENCES[:1])
    one.gt_spans = [torch.tensor([[2.0, 5.0], [18.0, 30.0]]), torch.zeros(0, 2)]
    two.gt_spans = [torch.tensor([[1.0, 2.0]])]
    two.set_metainfo(dict(extent=8.0))
    spans, mask = true_spans([one, two], torch.device('cpu'))
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    expected = [[0.1, 0.25], [0.9, 1.0], [0.125, 0.25]]
    torch.testing.assert_close(spans[mask], torch.tensor(expected))
    assert true_spans([], torch.device('cpu'))[0].shape == (0, 0, 2)


@pytest.mark.parametrize(('pairs', 'points', 'budget'), [(7, 10, 25), (3, 10, 1), (5, 4, 1000)])
def test_chunks_cover_all_pairs_within_the_budget(pairs: int, points: int, budget: int):
    slices = list(chunk_pairs(pairs, points, budget))
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(pairs))
    for s in slices:
        assert (s.stop - s.start) * points <= budget or s.stop - s.start == 1
    assert list(chunk_pairs(0, points, budget)) == []


def negatives(similarity: list, owner: list, meaning: Tensor, number: int) -> set:
    video, query = hardest_negatives(torch.tensor(similarity), torch.tensor(owner), meaning, number)
    return set(zip(query.tolist(), video.tolist()))


def test_the_hardest_negatives_are_the_most_similar_other_videos():
    similarity = [[0.9, 0.1, 0.5], [0.9, 0.8, 0.7]]
    assert negatives(similarity, [0, 1], torch.eye(2), 1) == {(0, 2), (1, 0)}
    assert negatives(similarity, [0, 1], torch.eye(2), 5) == {(0, 1), (0, 2), (1, 0), (1, 2)}
    assert negatives([[0.9]], [0], torch.eye(1), 1) == set()
    assert negatives(similarity, [0, 1], torch.eye(2), 0) == set()


def test_a_share_of_the_queries_meets_a_rival():
    """The half whose rival comes nearest to its own video."""
    similarity = [[0.9, 0.1, 0.5], [0.9, 0.8, 0.7], [0.2, 0.1, 0.9], [0.9, 0.95, 0.3]]
    owner, meaning = [0, 1, 2, 0], torch.eye(4)
    assert negatives(similarity, owner, meaning, 0.5) == {(1, 0), (3, 1)}
    assert negatives(similarity, owner, meaning, 0.01) == {(1, 0)}
    assert len(negatives(similarity, owner, meaning, 1.5)) == 6


def test_likely_false_negatives_are_skipped_while_others_are_left():
    meaning = torch.tensor([[1.0, 0.95, 0.1], [0.95, 1.0, 0.1], [0.1, 0.1, 1.0]])
    similarity = [[0.9, 0.8, 0.2], [0.8, 0.9, 0.2], [0.5, 0.6, 0.9]]
    found = negatives(similarity, [0, 1, 2], meaning, 1)
    assert found == {(0, 2), (1, 2), (2, 1)}
    assert negatives(similarity, [0, 1, 2], meaning, 2) >= {(0, 1), (1, 0)}  # none other is left


def test_queries_about_nearly_the_same_part_of_one_video_tell_of_one_moment() -> None:
    spans = torch.tensor([[0.0, 10.0], [1.0, 10.0], [4.0, 10.0], [0.0, 10.0], [0.0, 10.0]])
    mask = torch.tensor([1, 1, 1, 1, 0]).bool()[:, None]
    owner = torch.tensor([0, 0, 0, 1, 1])
    found = same_moment(spans[:, None], mask, owner)
    assert found.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 2], [3, 3], [4, 4]]
    nothing = same_moment(torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.bool), owner[:2])
    assert nothing.equal(torch.eye(2, dtype=torch.bool))
