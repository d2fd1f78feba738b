"""Which query belongs to which video, and where its moments are: as if filled in one by one."""

import torch

from demul_mm.models.localizers.pairs import own_pairs, true_spans
from tests.models.tiny import tiny_sample

CPU = torch.device('cpu')


def test_owners_are_repeated_in_order() -> None:
    assert own_pairs([2, 0, 3], CPU).tolist() == [0, 0, 2, 2, 2]
    assert own_pairs([0], CPU).shape == (0,)


def test_moments_are_padded_as_one_by_one() -> None:
    first, second, empty = (
        tiny_sample(d, ['a', 'b'], seed=i) for i, d in enumerate((7.0, 30.0, 5.0))
    )
    second.set_metainfo(dict(extent=33.0))
    second.gt_spans = [[[3.0, 9.0], [20.0, 40.0], [-2.0, 1.0]], []]
    empty.gt_spans = [[], []]
    spans, mask = true_spans([first, second, empty], CPU)
    assert spans.shape == (6, 3, 2)
    assert spans.dtype == torch.float32
    rows = [
        (span / sample.metainfo.get('extent', sample.duration)).clamp(0, 1)
        for sample in (first, second, empty)
        for span in sample.gt_spans
    ]
    for values, valid, row in zip(spans, mask, rows):
        assert torch.equal(values[: len(row)], row)
        assert not values[len(row) :].any()
        assert valid.tolist() == [True] * len(row) + [False] * (3 - len(row))


def test_a_moment_behind_the_last_clip_is_none() -> None:
    """The features may end before the video: nothing shows what happens then."""
    sample = tiny_sample(16.0, ['a', 'b'])
    sample.set_metainfo(dict(extent=12.0))
    sample.gt_spans = [[[13.0, 16.0], [3.0, 6.0]], [[12.0, 16.0]]]
    spans, mask = true_spans([sample], CPU)
    assert mask.tolist() == [[True], [False]]  # those that are left come first
    assert spans.tolist() == [[[0.25, 0.5]], [[0.0, 0.0]]]


def test_no_moment_at_all() -> None:
    sample = tiny_sample(7.0, ['a'])
    sample.gt_spans = [[]]
    spans, mask = true_spans([sample], CPU)
    assert spans.shape == (1, 0, 2)
    assert mask.shape == (1, 0)
    assert true_spans([], CPU)[0].shape == (0, 0, 2)
