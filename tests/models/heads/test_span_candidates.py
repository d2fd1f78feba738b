"""Candidates beside the pyramid's points."""

import pytest
import torch

from demul_mm.models.heads import SparseMapCandidates, StartEndCandidates
from demul_mm.models.heads.span_candidates import SpanPooling
from demul_mm.models.task_modules.assigner import assign_by_iou
from demul_mm.structures import span_iou
from tests.models.tiny import DIM, losses_of, predictions_of, tiny_data, tiny_model

KINDS = {
    'map': dict(type='SparseMapCandidates', dim=DIM, size=4, lengths=(1, 2, 4)),
    'pairs': dict(type='StartEndCandidates', dim=DIM, num_borders=3),
}


def test_pooling_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    pool, clips = SpanPooling(3), torch.randn(2, 9, 3)
    spans = torch.tensor([[[0.0, 9.0], [2.0, 5.0], [4.0, 5.0]], [[1.2, 3.6], [8.0, 9.0], [0, 1]]])
    found = pool(clips, spans)
    for row in range(2):
        for place, (start, end) in enumerate(spans[row].round().long().tolist()):
            inside = clips[row, start:end]
            parts = torch.cat([inside.mean(0), inside[0], inside[-1]])
            torch.testing.assert_close(found[row, place], pool.project(parts))


def test_the_sparse_map_lies_inside_each_video() -> None:
    torch.manual_seed(0)
    spans_of = SparseMapCandidates(DIM, size=4, lengths=(1, 2, 4))
    mask = torch.arange(8)[None] < torch.tensor([[8], [3]])
    x, spans, valid = spans_of(torch.randn(2, 8, DIM), torch.zeros(2, 8), torch.zeros(2, 8), mask)
    assert x.shape == (2, 8, DIM)  # 4 + 3 + 1 spans
    assert valid.all()
    assert spans[0].tolist() == [[0, 2], [2, 4], [4, 6], [6, 8], [0, 4], [2, 6], [4, 8], [0, 8]]
    torch.testing.assert_close(spans[1], spans[0] * 3 / 8)


def test_pairs_are_the_best_starts_with_the_best_ends_after_them() -> None:
    pairs = StartEndCandidates(DIM, num_borders=2)
    start, end = torch.zeros(1, 6), torch.zeros(1, 6)
    start[0, 1], start[0, 4], end[0, 2], end[0, 5] = 3, 2, 2, 3
    start[0, 5] = 9  # of the padding
    mask = torch.tensor([[True] * 5 + [False]])
    end[0, 4] = 2.5
    _, spans, valid = pairs(torch.randn(1, 6, DIM), start, end, mask)
    found = {tuple(span) for span in spans[0][valid[0]].tolist()}
    assert found == {(1, 5), (1, 3), (4, 5)}


@pytest.mark.parametrize('kind', KINDS)
def test_further_candidates_are_rated_trained_and_kept_inside(kind: str) -> None:
    model = tiny_model(head=dict(candidates=[KINDS[kind]]))
    data = tiny_data()
    sum(losses_of(model.train(), data).values()).backward()
    gradients = [p.grad for p in model.head.candidates.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    assert any(bool(g.any()) for g in gradients)
    for sample in predictions_of(model.eval(), data):
        for moments in sample.pred_moments:
            start, end = moments.spans.unbind(-1)
            assert bool(((start >= 0) & (start <= end) & (end <= sample.duration)).all())


def test_a_span_begins_where_it_was_proposed() -> None:
    """Without regression, a candidate is its own span."""
    model = tiny_model(head=dict(candidates=[KINDS['map']], regress=False))
    ready = model.data_preprocessor(tiny_data((8,), (1,)))
    with torch.no_grad():
        videos = model.encode_video(ready['inputs'])
        queries = model.encode_tokens(ready['inputs']['ids'], ready['inputs']['word_mask'])
        zero = torch.zeros(1, dtype=torch.int64)
        found = model.localize(videos, queries, zero, zero)
    grid = model.head.candidates[0].grid
    torch.testing.assert_close(found.spans[0, -len(grid) :], grid, rtol=0, atol=1e-5)
    cells = found.spans[0, : -len(grid)]
    assert bool((cells >= 0).all() and (cells <= 1).all())


def test_a_head_that_only_classifies_has_windows_of_the_pyramid() -> None:
    model = tiny_model(head=dict(regress=False), neck=None)
    ready = model.data_preprocessor(tiny_data((8,), (1,)))
    with torch.no_grad():
        videos = model.encode_video(ready['inputs'])
        queries = model.encode_tokens(ready['inputs']['ids'], ready['inputs']['word_mask'])
        zero = torch.zeros(1, dtype=torch.int64)
        spans = model.localize(videos, queries, zero, zero).spans[0] * 8
    # Level 0: cells of one clip, two strides to either side.
    expected = torch.stack([torch.arange(8) + 0.5 - 2, torch.arange(8) + 0.5 + 2], -1).clamp(0, 8)
    torch.testing.assert_close(spans[:8], expected)


def test_spans_are_assigned_to_the_moment_they_overlap_most() -> None:
    anchors = torch.tensor([[[0.0, 4.0], [1.0, 3.0], [5.0, 9.0], [0.0, 9.0]]])
    truth = torch.tensor([[[0.0, 3.0], [5.0, 8.0], [0.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    positive, own = assign_by_iou(anchors, truth, mask)
    assert positive.tolist() == [[True, True, True, False]]
    assert own[0, :3].tolist() == [[0, 3], [0, 3], [5, 8]]
    assert bool((span_iou(anchors[0], own[0])[:3] >= 0.5).all())
    positive, own = assign_by_iou(anchors, truth[:, :0], mask[:, :0])
    assert not positive.any()
    assert own.shape == anchors.shape
