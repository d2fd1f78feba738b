"""The head: borders, curves, and what it is before training."""

import pytest
import torch
from torch import Tensor

from demul_mm.models.heads import TERMS, UnifiedMomentHead
from demul_mm.models.heads.candidates import HeadOutput
from demul_mm.models.heads.proposal import decode_distances
from demul_mm.models.localizers import DeMUL
from demul_mm.models.losses.curves import boundary_loss
from demul_mm.models.task_modules import PointGenerator
from tests.models.tiny import DIM, SENTENCES, tiny_data

POINTS = PointGenerator(3)(8)  # 8 + 4 + 2 cells
CELLS = len(POINTS.centers)


def head(**options) -> UnifiedMomentHead:
    torch.manual_seed(0)
    return UnifiedMomentHead(DIM, **options).eval()


def output(spans: Tensor, clips: int = 8, **changes: Tensor) -> HeadOutput:
    """One pair with a candidate at each of some cells, and flat curves."""
    number = spans.shape[1]
    mask = POINTS.valid(torch.tensor([clips]))
    fields = dict(
        semantic=torch.zeros(1, number),
        similarity=torch.zeros(1, number),
        dense_logit=torch.zeros(1, CELLS),
        stage_logits=torch.zeros(1, 2, number),
        quality=torch.zeros(1, number),
        spans=spans,
        cell=torch.arange(number)[None],
        anchors=torch.zeros(1, 0, 2),
        start=torch.zeros(1, 8),
        end=torch.zeros(1, 8),
        inside=torch.zeros(1, 8),
        video=torch.zeros(1),
        mask=torch.ones(1, number, dtype=torch.bool),
        clip_mask=mask[:, :8],
        cell_mask=mask,
        num_clips=torch.tensor([clips]),
        query=torch.tensor([0]),
    )
    return HeadOutput(**{**fields, **changes})


# -- decoding ------------------------------------------------------------------------------------


def test_distances_are_counted_in_strides_from_the_centre():
    distance = torch.tensor([[[1.0, 2.0], [0.5, 0.5], [0.0, 0.0], [9.0, 9.0]]])
    centers, strides = torch.tensor([3.0, 4.0, 5.0, 4.0]), torch.tensor([1.0, 2.0, 4.0, 1.0])
    found = decode_distances(distance, centers, strides, torch.tensor([8]))
    assert found.tolist() == [[[2, 5], [3, 5], [5, 5], [0, 8]]]


def test_a_cell_cut_by_the_end_of_the_video_has_its_centre_in_what_is_left():
    distance = torch.zeros(1, 1, 2)
    found = decode_distances(distance, torch.tensor([4.0]), torch.tensor([8.0]), torch.tensor([5]))
    assert found.tolist() == [[[2.5, 2.5]]]


def test_spans_lie_in_the_video_whatever_the_distance():
    torch.manual_seed(0)
    clips = torch.tensor([1, 3, 5, 8])
    distance = 10 * torch.rand(4, CELLS, 2)
    spans = decode_distances(distance, POINTS.centers, POINTS.strides, clips)
    valid = POINTS.valid(clips)
    start, end = spans.unbind(-1)
    assert bool(((start >= 0) & (start <= end) & (end <= clips[:, None]))[valid].all())


# -- the joint score -----------------------------------------------------------------------------


def test_terms_sum_to_the_score(trained: DeMUL):
    with torch.no_grad():
        videos = trained.encode_video(trained.data_preprocessor(tiny_data())['inputs'])
        queries = trained.encode_query(list(SENTENCES[:3]))
        found = trained.localize(videos, queries, torch.arange(3), torch.arange(3))
    assert found.terms.shape[-1] == len(TERMS)
    torch.testing.assert_close(found.terms.sum(-1), found.scores)


def test_semantic_and_quality_are_log_probabilities():
    spans = torch.tensor([[[2.0, 5.0], [2.0, 5.0]]])
    semantic, quality = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, 3.0]])
    found = head()
    _, terms = found.score(output(spans, semantic=semantic, quality=quality), spans)
    terms = terms / found.joint.weights
    torch.testing.assert_close(terms[..., 0], semantic.sigmoid().log())
    torch.testing.assert_close(terms[..., 1], quality.sigmoid().log())


def all_spans(clips: int = 8) -> Tensor:
    starts, ends = torch.cartesian_prod(
        torch.arange(0, clips + 0.5, 0.5), torch.arange(0, 8.5, 0.5)
    ).T
    keep = (ends - starts >= 1) & (ends <= clips)
    return torch.stack([starts, ends], -1)[keep][None]


@pytest.mark.parametrize('truth', [(2.0, 5.0), (0.0, 3.0), (5.0, 8.0), (3.0, 4.0), (0.0, 8.0)])
def test_borders_score_best_where_training_puts_them(truth: tuple[float, float]):
    """Curves that are as their loss wants them are highest at the true span."""
    found = head()
    logits = dict.fromkeys(('start', 'end'))
    for name in logits:
        logits[name] = torch.zeros(1, 8, requires_grad=True)
    spans = torch.tensor([[truth]])
    known = torch.ones(1, 1, dtype=torch.bool)
    optimizer = torch.optim.Adam(logits.values(), lr=0.3)
    for _ in range(60):
        out = output(torch.zeros(1, 1, 2), **logits)
        loss = boundary_loss(out.start, out.end, out.clip_mask, out.query, spans, known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    candidates = all_spans()
    with torch.no_grad():
        out = output(candidates, **logits)
        terms = found.score(out, candidates)[1]
    border = terms[0, :, TERMS.index('boundary')]
    true = (candidates[0] == spans[0]).all(-1)
    assert border[true] == pytest.approx(border.max().item(), abs=1e-4)


def test_borders_never_read_the_padding():
    spans = all_spans(5)
    start, end = torch.randn(1, 8), torch.randn(1, 8)
    noisy = [torch.where(torch.arange(8) < 5, curve, 50.0) for curve in (start, end)]
    found = head()
    inside = torch.randn(1, 8)
    loud = torch.where(torch.arange(8) < 5, inside, 50.0)
    one = found.score(output(spans, 5, start=start, end=end, inside=inside), spans)[1]
    two = found.score(output(spans, 5, start=noisy[0], end=noisy[1], inside=loud), spans)[1]
    torch.testing.assert_close(one, two)
    assert one.min() > -100


def test_borders_shorter_than_a_clip_do_not_read_the_padding():
    spans = torch.tensor([[[4.6, 5.0], [4.9, 5.0]]])
    start = torch.randn(1, 8)
    found = head()
    one, two = (
        found.score(output(spans, 5, start=curve), spans)[1]
        for curve in (start, torch.where(torch.arange(8) < 5, start, 50.0))
    )
    torch.testing.assert_close(one, two)
    assert one.min() > -100


def test_coherence_is_best_at_what_the_inside_curve_says():
    inside = torch.full((1, 8), -9.0)
    inside[0, 2:6] = 9
    spans = all_spans()
    for smoothing in (1.0, 0.5):
        found = head(smoothing=smoothing)
        terms = found.score(output(spans, inside=inside), spans)[1]
        best = spans[0, terms[0, :, TERMS.index('coherence')].argmax()]
        assert best.tolist() == [2, 6]


def test_the_video_term_is_a_soft_maximum_over_its_moments():
    similarity = torch.tensor([[0.9, -0.2, 0.1, 5.0], [0.3, 0.3, 0.3, 5.0]])
    mask = torch.tensor([[True, True, True, False]] * 2)
    found = UnifiedMomentHead.video_similarity(similarity, mask, temperature=0.05)
    mean = ((similarity[0, :3] / 0.05).exp().mean()).log() * 0.05
    assert found[0].item() == pytest.approx(mean.item())
    assert found[1].item() == pytest.approx(0.3)  # not more for having more cells
