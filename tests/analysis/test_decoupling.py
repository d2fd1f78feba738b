"""The probe sees what is there, and replaced private parts say nothing."""

import numpy as np
import pytest
import torch

from demul_mm.analysis.decoupling import (
    best_cells,
    collect,
    modality_probe,
    replaced_private,
    shared_retrieval,
    without_private,
)
from demul_mm.engine.encoding import encode_batches
from demul_mm.evaluation.reliability import roc_auc
from demul_mm.models.localizers import DeMUL
from tests.analysis.splits import split
from tests.models.tiny import predictions_of, tiny_data, tiny_model


def test_probe_finds_no_difference_where_there_is_none():
    rng = np.random.default_rng(0)
    groups = np.arange(400) // 4
    found = modality_probe(rng.normal(size=(400, 8)), rng.normal(size=(400, 8)), groups)
    assert abs(found['accuracy'] - 50) < 6
    assert found['gap'] < 0.15


def test_probe_tells_an_offset_and_its_size():
    rng = np.random.default_rng(0)
    groups = np.arange(400) // 4
    moments = rng.normal(size=(400, 8))
    offset = modality_probe(moments, moments[::-1] + 5.0, groups)
    assert offset['accuracy'] == 100
    assert offset['gap'] == pytest.approx(5 * 8**0.5 / 2.74, rel=0.05)  # E |N(0, I_8)| = 2.74


def test_probe_takes_several_videos():
    with pytest.raises(ValueError, match='two videos or more'):
        modality_probe(np.zeros((4, 2)), np.ones((4, 2)), np.zeros(4, int))


def test_auc_by_hand():
    assert roc_auc(np.array([0.9, 0.5]), np.array([0.1, 0.5])) == pytest.approx(3.5 / 4)
    assert roc_auc(np.array([0.1]), np.array([0.2, 0.3])) == 0


def test_best_cell_is_the_one_with_the_moments_borders(trained: DeMUL):
    data = tiny_data((16,), (2,))
    sample = data['data_samples'][0]  # 32 seconds, cells of 2, 4, 8 and 16
    sample.gt_spans = [[[8.0, 16.0]], [[9.0, 11.0]]]
    (batch,) = encode_batches(trained, [data])
    query, cell = best_cells(trained, batch)
    assert query.tolist() == [0, 1]
    # The second of 4 clips, after 16 + 8 finer cells; the third of 2 clips (8 to 12 s).
    assert cell.tolist() == [16 + 8 + 1, 16 + 2]


def test_index_answers_and_whole_answers(trained: DeMUL):
    found = collect(trained, split())
    expected = [m for batch in split() for s in predictions_of(trained, batch)
                for m in s.pred_moments]  # fmt: skip
    assert [e['query_id'] for e in found.whole] == ['v0#0', 'v0#1', 'v1#0', 'v2#0', 'v2#1']
    for entry, moments in zip(found.whole, expected):
        np.testing.assert_allclose([row[2] for row in entry['pred']], moments.scores, rtol=1e-5)
    for entry in found.shared_alone:
        scores = [row[2] for row in entry['pred']]
        assert scores == sorted(scores, reverse=True)
    vectors = found.vectors
    assert vectors.moment_shared.shape == vectors.query_shared.shape == (5, 16)
    assert vectors.moment_private.shape == vectors.query_private.shape == (5, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors.moment_shared, axis=1), 1, rtol=1e-5)
    assert {name: pool.shape[1] for name, pool in vectors.pools.items()} == {
        'visual': 8,
        'language': 8,
    }


def test_replaced_private_parts_are_what_was_asked_and_shared_ones_stay(trained: DeMUL):
    pools = collect(trained, split()).vectors.pools
    (plain, _), before = list(encode_batches(trained, split())), trained.decoupler.state_dict()
    with replaced_private(trained, pools, 'mean'):
        (batch, _) = list(encode_batches(trained, split()))
    assert torch.equal(batch.videos.shared, plain.videos.shared)
    assert torch.equal(batch.queries.shared, plain.queries.shared)
    mean = pools['visual'].mean(0).expand_as(batch.videos.private[0, 0])
    torch.testing.assert_close(batch.videos.private[0, 0], mean)
    assert not torch.equal(batch.videos.points, plain.videos.points)
    with replaced_private(trained, pools, 'drawn'):
        (drawn, _) = list(encode_batches(trained, split()))
    known = {tuple(row.tolist()) for row in pools['language']}
    assert {tuple(row.tolist()) for row in drawn.queries.private} <= known
    (again, _) = list(encode_batches(trained, split()))
    assert torch.equal(again.videos.points, plain.videos.points)  # the hooks are gone
    assert before.keys() == trained.decoupler.state_dict().keys()
    with (
        pytest.raises(ValueError, match="allowed: 'mean', 'drawn'"),
        replaced_private(trained, pools, 'zero'),
    ):
        pass


def test_a_model_without_private_parts_has_none_to_replace():
    model = tiny_model(decoupler=dict(private_dim=0), criterion=dict(weights={}))
    found = collect(model, split())
    assert found.vectors.moment_private.shape[1] == 0
    assert len(found.whole) == len(found.shared_alone)
    with (
        pytest.raises(ValueError, match='private_dim is 0'),
        replaced_private(model, found.vectors.pools, 'mean'),
    ):
        pass


def test_answers_without_private_parts_differ_but_are_of_the_same_queries(trained: DeMUL):
    found = collect(trained, split())
    entries = without_private(trained, split(), found.vectors.pools, 'drawn')
    assert [e['query_id'] for e in entries] == [e['query_id'] for e in found.whole]
    assert [e['pred'] for e in entries] != [e['pred'] for e in found.whole]


def test_retrieval_by_shared_parts(trained: DeMUL):
    """Asked with a video's own cell, that video comes first."""
    found = collect(trained, split())
    ids = found.vectors.video_ids.tolist()
    own = shared_retrieval(trained, split(), found.vectors.moment_shared, ids, topk=(1, 3))
    assert own == {'R@1': 100.0, 'R@3': 100.0, 'videos': 3}
    wrong = ['v1' if name == 'v0' else 'v0' for name in ids]
    other = shared_retrieval(trained, split(), found.vectors.moment_shared, wrong, topk=(1, 3))
    assert other == {'R@1': 0.0, 'R@3': 100.0, 'videos': 3}


def test_alike_videos_are_found_in_their_order_and_each_once(trained: DeMUL):
    blind = np.zeros((3, 16), np.float32)
    twice = [*split(), *split()]
    found = shared_retrieval(trained, twice, blind, ['v0', 'v1', 'v2'], topk=(1, 2, 3))
    assert found == pytest.approx({'R@1': 100 / 3, 'R@2': 200 / 3, 'R@3': 100.0, 'videos': 3})
