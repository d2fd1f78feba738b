"""Windows that an index found get the borders that the curve has."""

import numpy as np

from demul_mm.zero_shot.sharpening import sharpen, sharpen_found


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
    for length in (1, 2, 30, 250):
        curve = draw.normal(size=length)
        for frame in range(0, length, 5):
            first, last = sharpen(curve, frame)
            assert 0 <= first <= frame < last <= length


def test_what_becomes_one_moment_is_found_once() -> None:
    curves = {'a': (curve_of(40, (9, 16), (30, 33)), 0.5)}
    videos = ['a', 'b', 'a', 'b', 'a', 'a']
    spans = [(6, 8), (0, 4), (4, 8), (1, 5), (4, 16), (16, 18)]
    placed, kept = sharpen_found(videos, spans, curves)
    assert kept == [0, 1, 3, 5]  # windows of b, which has no curve, stay as they are
    np.testing.assert_allclose(placed, [(4.5, 8), (0, 4), (1, 5), (15, 16.5)])


def test_nothing_found() -> None:
    placed, kept = sharpen_found([], [], {})
    assert placed.shape == (0, 2)
    assert kept == []
