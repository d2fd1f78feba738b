"""Windows that an index found get the borders that the curve has."""

import numpy as np
import pytest
import torch

from demul_mm.structures.nms import MomentNMS
from demul_mm.structures.spans import pairwise_iou
from demul_mm.zero_shot.sharpening import sharpen, sharpen_found
from demul_mm.zero_shot.windows import window_spans


def curve_of(length: int = 40, *moments: tuple[int, int]) -> np.ndarray:
    curve = 0.2 + 0.02 * np.random.default_rng(0).normal(size=length)
    for start, end in moments:
        curve[start:end] += 0.3
    return curve


def test_the_borders_of_a_moment() -> None:
    curve = curve_of(40, (9, 16), (30, 33))
    assert {sharpen(curve, frame) for frame in range(9, 16)} == {(9, 16)}
    assert {sharpen(curve, frame) for frame in range(30, 33)} == {(30, 33)}


def test_the_frame_stays_inside() -> None:
    draw = np.random.default_rng(1)
    for length in (2, 30, 250):
        curve = draw.normal(size=length)
        for frame in np.flatnonzero(curve > curve.mean()).tolist():
            moment = sharpen(curve, frame)
            assert moment is not None
            assert 0 <= moment[0] <= frame < moment[1] <= length


def test_what_becomes_one_moment_is_found_once() -> None:
    curves = {'a': (curve_of(40, (9, 16), (30, 33)), 0.5)}
    videos = ['a', 'b', 'a', 'b', 'a', 'a']
    spans = [(6.0, 8.0), (0.0, 4.0), (4.0, 8.0), (1.0, 5.0), (4.0, 16.0), (16.0, 18.0)]
    placed, kept = sharpen_found(videos, spans, curves, 0.7)
    assert kept == [0, 1, 3, 5]  # windows of b, which has no curve, stay as they are
    np.testing.assert_allclose(placed, [(4.5, 8), (0, 4), (1, 5), (15, 16.5)])


@pytest.mark.parametrize('kind', ['noise', 'slow', 'flat', 'steps'])
@pytest.mark.parametrize('length', [1, 8, 75, 400])
def test_no_two_answers_are_one(kind: str, length: int) -> None:
    draw = np.random.default_rng(length)
    noise = draw.normal(size=length)
    curve = {
        'noise': noise,
        'slow': np.cumsum(noise),
        'flat': np.full(length, 0.3),
        'steps': np.repeat([5.0, 3, 3, 1, 1, 0, 0, 0], 50)[:: max(1, 400 // length)][:length],
    }[kind]
    windows = window_spans(length)
    nms = MomentNMS(0.3, 100)
    spans = torch.from_numpy(windows.astype(float))[None]
    rated = torch.from_numpy(draw.random(len(windows)))[None]
    found, _, valid, _ = nms(spans, rated, torch.ones_like(rated, dtype=torch.bool))
    given = found[0][valid[0]]
    placed, kept = sharpen_found(['a'] * len(given), given.tolist(), {'a': (curve, 1.0)}, 0.3)
    assert 1 <= len(placed) == len(kept)
    assert ((placed[:, 0] >= 0) & (placed[:, 0] < placed[:, 1]) & (placed[:, 1] <= length)).all()
    iou = pairwise_iou(torch.from_numpy(placed), torch.from_numpy(placed)).fill_diagonal_(0)
    assert iou.max() <= 0.3
    if kind == 'flat':  # nothing stands out: the windows stay as they are
        np.testing.assert_array_equal(placed, given)


def test_nothing_found() -> None:
    placed, kept = sharpen_found([], [], {}, 0.3)
    assert placed.shape == (0, 2)
    assert kept == []
