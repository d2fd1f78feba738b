"""Rivals are the wrong videos that a query finds first, without likely false negatives."""

import torch
from torch.nn.functional import normalize

from demul_mm.engine.hooks.hard_video_mining import MinedVideo, mine_rivals


def videos(number: int = 9, seed: int = 0) -> list[MinedVideo]:
    rng = torch.Generator().manual_seed(seed)

    def unit(rows: int, dim: int) -> torch.Tensor:
        return normalize(torch.randn(rows, dim, generator=rng), dim=1)

    return [MinedVideo(unit(3, 8), unit(v % 3, 8), unit(v % 3, 5)) for v in range(number)]


def slow(mined: list[MinedVideo], num_rivals: int, too_alike: float) -> list[list[int]]:
    """The same, one pair at a time."""
    rivals = []
    for v, video in enumerate(mined):
        scores = {}
        for query, meaning in zip(video.queries, video.meaning):
            for u, other in enumerate(mined):
                alike = u == v or any(float(c @ meaning) > too_alike for c in other.meaning)
                if not alike:
                    score = max(float(p @ query) for p in other.prototypes)
                    scores[u] = max(score, scores.get(u, -2.0))
        rivals.append(sorted(scores, key=lambda u: -scores[u])[:num_rivals])
    return rivals


def test_rivals_are_those_of_a_slow_search() -> None:
    for seed in range(3):
        mined = videos(seed=seed)
        for too_alike in (2.0, 0.4):
            assert mine_rivals(mined, 4, too_alike, chunk=2) == slow(mined, 4, too_alike)


def test_a_video_without_a_query_has_no_rival_and_can_be_one() -> None:
    found = mine_rivals(videos(), 8, too_alike=2.0)
    assert [len(rivals) for rivals in found] == [0, 8, 8] * 3
    assert all(v not in rivals for v, rivals in enumerate(found))
    assert any(0 in rivals for rivals in found)


def test_a_video_that_tells_of_the_same_event_is_skipped() -> None:
    mined = videos()
    first = mine_rivals(mined, 1, too_alike=2.0)[1][0]
    same = mined[first]._replace(meaning=mined[1].meaning)
    mined[first] = same
    assert first not in mine_rivals(mined, 8, too_alike=0.9)[1]
