"""Queries asked of other videos: how these are chosen, and what is counted."""

import numpy as np
import pytest
import torch

from demul_mm.analysis.no_match import (
    caption_similarity,
    detection,
    draw_others,
    no_match_scores,
    threshold_for,
)
from demul_mm.models.localizers import DeMUL
from demul_mm.visualization.charts import figure_image
from demul_mm.visualization.curves import draw_no_match
from tests.analysis.splits import split
from tests.models.tiny import (
    WORD_MATCH,
    only,
    predictions_of,
    tiny_data,
    tiny_model,
    with_words,
)


def test_likeness_is_that_of_the_most_alike_caption():
    meaning = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    owner = torch.tensor([0, 1, 1])
    expected = torch.tensor([[1.0, 0.6], [0.6, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(caption_similarity(meaning, owner, 2), expected)


def test_other_videos_are_never_the_own_one_nor_too_alike():
    rng = torch.Generator().manual_seed(0)
    likeness = torch.rand(200, 20, generator=rng)
    owner = torch.randint(20, (200,), generator=rng)
    chosen, alike = draw_others(likeness, owner, 0.5, rng)
    assert not bool((chosen == owner).any())
    assert torch.equal(alike, likeness.gather(1, chosen[:, None])[:, 0])
    assert alike.max() <= 0.5
    assert chosen.unique().numel() == 20  # by chance, not always the same
    chosen, alike = draw_others(likeness + 1, owner, 0.5, rng)  # all are too alike
    others = (likeness + 1).scatter(1, owner[:, None], 9.0)
    assert torch.equal(chosen, others.argmin(1))


def test_detection_by_hand():
    own, other = np.array([0.9, 0.4, 0.8, 0.1]), np.array([0.1, 0.2, 0.7])
    found = detection(own, other, 0.4)
    assert found['detected'] == pytest.approx(200 / 3)
    assert found['false alarms'] == 25  # 0.4 itself is not below
    assert found['right'] == pytest.approx((200 / 3 + 75) / 2)
    assert detection(own, other, threshold_for(own, 0.25))['false alarms'] == 25
    with pytest.raises(ValueError, match=r'in \[0, 1\]'):
        threshold_for(own, 5)


def test_scores_in_the_own_video_are_the_predictions(trained: DeMUL):
    scores = no_match_scores(trained, split(), too_alike=1.0)
    best, video = [], []
    for batch in split():
        for sample in predictions_of(trained, batch):
            best += [float(moments.scores[0]) for moments in sample.pred_moments]
            video += [float(moments.terms[0, -1]) for moments in sample.pred_moments]
    np.testing.assert_allclose(scores.own['probability'], best, rtol=1e-4)
    np.testing.assert_allclose(scores.own['likeness'], video, rtol=1e-3, atol=1e-4)
    assert scores.query_ids == ['v0#0', 'v0#1', 'v1#0', 'v2#0', 'v2#1']
    assert all(q.split('#')[0] != v for q, v in zip(scores.query_ids, scores.other_videos))
    assert scores.own['match'].tolist() == [1] * 5  # nothing was fitted
    assert not np.allclose(scores.own['probability'], scores.other['probability'])


def test_where_suppression_leaves_nothing_the_likeness_is_known_all_the_same() -> None:
    plain, silent = (
        no_match_scores(tiny_model(test_cfg=dict(nms=nms)), split(), too_alike=1.0)
        for nms in (dict(type='MomentNMS'), dict(type='SoftNMS', min_score=1.0))
    )
    np.testing.assert_allclose(silent.own['likeness'], plain.own['likeness'])
    assert not silent.own['probability'].any()


def test_sentences_of_other_lengths_keep_their_words():
    model = tiny_model(**WORD_MATCH)
    model.word_match.clips.fill_(8)  # untrained, all words are as common as clips
    batches = [with_words(batch) for batch in split()]
    scores = no_match_scores(model, batches, too_alike=1.0)
    samples = [sample for batch in batches for sample in predictions_of(model, batch)]
    best = [float(moments.scores[0]) for sample in samples for moments in sample.pred_moments]
    np.testing.assert_allclose(scores.own['probability'], best, rtol=1e-4)


def test_one_video_is_not_enough(trained: DeMUL):
    data = only(tiny_data((13,), (2,)), 0)
    data['data_samples'][0].set_metainfo(dict(query_ids=['a', 'b']))
    with pytest.raises(ValueError, match='two or more'):
        no_match_scores(trained, [data])


def test_the_picture_is_drawn():
    rng = np.random.default_rng(0)
    own = dict(probability=rng.random(50), likeness=rng.random(50))
    auc = dict(probability=0.5, likeness=0.5)
    assert (figure_image(draw_no_match(own, own, auc)) != 255).any()
