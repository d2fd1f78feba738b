"""The weight of a video's likeness in the joint score is fitted by search on held-out videos."""

from types import SimpleNamespace

import pytest
import torch

from demul_mm.engine.hooks import VideoWeightHook
from demul_mm.engine.hooks.video_weight import _likeness, best_weight
from demul_mm.retrieval import encode_batch, encode_queries
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
    assert found[0] == pytest.approx(found[1], rel=0.05)
    runner = SimpleNamespace(
        model=model,
        hooks=[],
        val_loop=SimpleNamespace(dataloader=loader),
        logger=SimpleNamespace(info=lambda line: None),
    )
    hook.before_val_epoch(runner)
    assert model.head.joint.video_weight.item() == pytest.approx(found[1], rel=1e-4)


def test_queries_whose_video_is_not_found_say_nothing() -> None:
    """Among rivals that were chosen for being liker than the own video, likeness would mislead."""
    model = tiny_model().eval()
    data = tiny_data((13, 8, 20, 9, 15), (2, 2, 2, 2, 2))
    videos = encode_batch(model, data)
    asked = [
        (text, v, spans)
        for v, sample in enumerate(data['data_samples'])
        for text, spans in zip(sample.queries, sample.gt_spans)
    ]
    queries = encode_queries(model, [text for text, _, _ in asked])
    alike = torch.stack([_likeness(model, queries.shared, video) for video in videos], 1)
    rank = [int((row > row[v]).sum()) for row, (_, v, _) in zip(alike, asked)]
    for rivals in (0, 1, 4):
        rows = VideoWeightHook(num_rivals=rivals)._search(model, videos, asked)
        assert len(rows) == sum(r <= rivals for r in rank)
    assert 0 < sum(r <= 1 for r in rank) < len(rank)
