"""Dropout of whole channels."""

import torch

from demul_mm.models.layers import ChannelDropout


def test_a_channel_is_dropped_for_the_whole_sequence_or_not_at_all() -> None:
    torch.manual_seed(0)
    x = torch.rand(40, 5, 3, 50) + 0.5
    factor = ChannelDropout(0.25)(x) / x
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor))
    kept = factor[:, 0, 0] > 0
    torch.testing.assert_close(factor[:, 0, 0][kept], torch.full((int(kept.sum()),), 4 / 3))
    assert abs(kept.float().mean() - 0.75) < 0.03


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    x = torch.rand(2, 3, 4)
    assert ChannelDropout(0.5).eval()(x) is x
    assert ChannelDropout(0.0)(x) is x
