"""The weight of a video's likeness in the joint score is fitted by search on held-out videos."""

from types import SimpleNamespace

import pytest
import torch

from demul_mm.engine.hooks import VideoWeightHook
from demul_mm.engine.hooks.video_weight import best_weight, best_words
from tests.models.tiny import tiny_data, tiny_model


def rows_of(weight: float, number: int = 1500, videos: int = 8) -> list:
    """Queries whose right moment is drawn from a softmax of ``rest + weight * likeness``."""
    rng = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(number):
        rest, video = torch.randn(2, videos, generator=rng, dtype=torch.float64)
        share = (rest + weight * video).softmax(0)
        hit = torch.zeros(videos, dtype=torch.bool)
        hit[torch.multinomial(share, 1, generator=rng)] = True
        rows.append((rest, video, hit))
    return rows


@pytest.mark.parametrize('weight', [1.0, 4.0])
def test_the_weight_that_made_the_hits_is_found(weight: float) -> None:
    assert best_weight(rows_of(weight)) == pytest.approx(weight, rel=0.15)


def test_no_hit_says_nothing() -> None:
    rows = [(rest, video, hit & False) for rest, video, hit in rows_of(1.0, 5)]
    assert best_weight(rows) is None
    assert best_weight([]) is None


def test_the_hook_fits_what_it_searches_whatever_the_weight_was() -> None:
    """The fit looks at likeness, not at likeness times the weight before."""
    model = tiny_model().eval()
    loader = [tiny_data()]
    hook = VideoWeightHook(num_rivals=3, iou_thr=0.0)
    found = []
    for start in (1.0, 20.0):
        model.head.joint.video_weight.fill_(start)
        found.append(hook.fit(model, loader))
    assert found[0].video == pytest.approx(found[1].video, rel=0.05)
    assert found[0].words == found[1].words == 0  # no video has a text
    runner = SimpleNamespace(
        model=model,
        hooks=[],
        val_loop=SimpleNamespace(dataloader=loader),
        logger=SimpleNamespace(info=lambda line: None),
    )
    hook.before_val_epoch(runner)
    assert model.head.joint.video_weight.item() == pytest.approx(found[1].video, rel=1e-4)


def test_queries_whose_video_is_not_found_say_nothing() -> None:
    """Among rivals that were chosen for being liker than the own video, likeness would mislead."""
    model = tiny_model().eval()
    data = tiny_data((13, 8, 20, 9, 15), (2, 2, 2, 2, 2))
    corpus = VideoWeightHook()._encode(model, [data])
    assert corpus is not None
    assert torch.equal(corpus.own, torch.arange(5).repeat_interleave(2))
    own = corpus.alike.gather(1, corpus.own[:, None])
    rank = (corpus.alike > own).sum(1).tolist()
    for rivals in (0, 1, 4):
        rows = VideoWeightHook(num_rivals=rivals)._search(model, corpus, 0.0)
        assert len(rows) == sum(r <= rivals for r in rank)
    assert 0 < sum(r <= 1 for r in rank) < len(rank)


@pytest.mark.parametrize('weight', [0.0, 0.05])
def test_the_weight_of_words_that_made_the_videos_is_found(weight: float) -> None:
    """Whatever the scale: videos are drawn from a softmax of ``20 (alike + weight words)``."""
    rng = torch.Generator().manual_seed(0)
    alike = torch.rand(3000, 12, generator=rng)
    words = 20 * torch.rand(3000, 12, generator=rng)
    share = (20 * (alike + weight * words)).softmax(1)
    own = torch.multinomial(share, 1, generator=rng)[:, 0]
    assert best_words(alike, words, own) == pytest.approx(weight, abs=0.003)


def test_without_texts_words_weigh_nothing() -> None:
    assert best_words(torch.rand(4, 3), torch.zeros(4, 3), torch.zeros(4).long()) == 0


def test_words_weigh_where_they_say_which_video_it_is() -> None:
    """Each video has its own queries' words as its text: they are worth more than the vectors."""
    model = tiny_model().eval()
    data = tiny_data((13, 8, 20, 9, 15), (2, 2, 2, 2, 2))
    for sample in data['data_samples']:
        sample.set_metainfo({'meta': {'text': ' '.join(sample.queries)}})
    hook = VideoWeightHook(num_rivals=1, iou_thr=0.0)
    found = hook.fit(model, [data])
    corpus = hook._encode(model, [data])
    assert found is not None
    assert corpus is not None
    assert found.words > 0.01
    ranked = (corpus.alike + found.words * corpus.words).argmax(1)
    assert (ranked == corpus.own).float().mean() > (
        corpus.alike.argmax(1) == corpus.own
    ).float().mean()
