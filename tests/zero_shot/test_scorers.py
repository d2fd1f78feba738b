"""Each scorer finds a plain moment, and does what its paper says in small cases."""

import numpy as np
import pytest

from demul_mm.zero_shot.scorers import (
    NEAR,
    SCORERS,
    all_spans,
    coherent_clusters,
    contrast,
    diwan,
    inside_minus_outside,
    scan,
    shots,
    standing_out,
    tag,
    unskew,
)
from demul_mm.zero_shot.sharpening import sharpen


@pytest.fixture
def film() -> tuple[np.ndarray, np.ndarray]:
    """40 frames of three scenes; the second, frames 16 to 24, is what is asked for."""
    draw = np.random.default_rng(0)
    scenes = np.eye(6)[[0] * 16 + [1] * 8 + [2] * 16]
    frames = scenes + 0.05 * draw.normal(size=scenes.shape)
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    return frames @ np.eye(6)[1], frames


@pytest.mark.parametrize('name', SCORERS)
def test_a_plain_moment_is_found(name: str, film: tuple[np.ndarray, np.ndarray]) -> None:
    spans, scores = SCORERS[name](*film)
    assert (np.diff(scores) <= 0).all()
    assert (spans[:, 0] < spans[:, 1]).all()
    assert spans.min() >= 0
    assert spans.max() <= 40
    start, end = spans[0]
    inside = max(0, min(end, 24) - max(start, 16))
    assert inside / (max(end, 24) - min(start, 16)) > (0.1 if name == 'windows' else 0.7)


@pytest.mark.parametrize('name', SCORERS)
@pytest.mark.parametrize('length', [1, 2, 3, 300])
def test_any_length_and_a_flat_curve(name: str, length: int) -> None:
    frames = np.tile(np.eye(4)[:1], (length, 1))
    spans, scores = SCORERS[name](np.full(length, 0.25), frames)
    assert len(spans) == len(scores) >= 1
    assert np.isfinite(scores).all()


def test_contrast_by_hand() -> None:
    curve = np.array([0.0, 4.0, 2.0, 0.0])
    values = inside_minus_outside(curve, np.array([[1, 2], [1, 3], [0, 4]]))
    np.testing.assert_allclose(values, [4 - 2 / 3, 3 - 0, 0])
    spans, scores = contrast(curve, np.eye(4))
    assert spans[0].tolist() == [1, 2]
    slow = [
        [inside_minus_outside(curve, np.array([[i, j]]))[0] for j in range(i + 1, 5)]
        for i in range(4)
    ]
    assert scores[0] == max(max(row) for row in slow)


def test_scan_by_hand() -> None:
    curve = np.array([0.0, 4.0, 4.0, 0.0])  # mean 2, deviation 2
    values = standing_out(curve, np.array([[1, 2], [1, 3], [0, 3], [0, 4]]))
    np.testing.assert_allclose(values, [1, np.sqrt(2), (8 / 3 - 2) / 2 * np.sqrt(3), 0], atol=1e-12)
    spans, scores = scan(curve, np.eye(4))
    assert spans[0].tolist() == [1, 3]
    np.testing.assert_allclose(scores[0], np.sqrt(2))


def test_the_scale_of_a_curve_is_nothing_to_scan() -> None:
    """Cosines of one encoder lie from .1 to .2, of another from .6 to .9."""
    curve = np.random.default_rng(0).normal(size=50)
    plain, moved = (scan(c, np.eye(50)) for c in (curve, 0.01 * curve + 7))
    np.testing.assert_array_equal(plain[0][:100], moved[0][:100])
    np.testing.assert_allclose(plain[1], moved[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('length', [3, 12, 30])
def test_scan_finds_a_moment_in_noise_and_contrast_one_frame(length: int) -> None:
    """Raised by as much as single frames vary."""
    draw = np.random.default_rng(length)
    overlap: dict[str, list[float]] = {'scan': [], 'contrast': []}
    for _ in range(100):
        start = draw.integers(75 - length)
        curve = draw.normal(size=75)
        curve[start : start + length] += 2
        for name, found in overlap.items():
            first, last = SCORERS[name](curve, np.eye(75))[0][0]
            inter = max(0, min(last, start + length) - max(first, start))
            found.append(inter / (last - first + length - inter))
    assert np.mean(overlap['scan']) > 0.6
    assert np.mean(overlap['scan']) > np.mean(overlap['contrast']) + (0.2 if length > 3 else 0.1)


@pytest.mark.parametrize('length', [1, 7, NEAR])
def test_all_spans_of_a_short_video(length: int) -> None:
    spans = {tuple(span) for span in all_spans(length).tolist()}
    assert spans == {(a, b) for a in range(length) for b in range(a + 1, length + 1)}
    held = {tuple(span) for span in all_spans(length, length // 2).tolist()}
    assert held == {(a, b) for a, b in spans if a <= length // 2 < b}


def test_spans_of_a_long_video() -> None:
    """They start at every frame and end by 200 of them later, lengths at most an eighth apart."""
    spans = all_spans(1000)
    sizes = np.unique(spans[:, 1] - spans[:, 0])
    assert set(range(1, 17)) <= set(sizes.tolist())
    assert (sizes[16:] / sizes[15:-1]).max() <= 9 / 8
    assert sizes.max() == NEAR
    assert len(spans) == sum(1000 - size + 1 for size in sizes)
    held = all_spans(1000, 990)
    expected = spans[(spans[:, 0] <= 990) & (spans[:, 1] > 990)]
    assert sorted(held.tolist()) == sorted(expected.tolist())


def test_a_moment_is_found_though_scenes_rise_and_fall() -> None:
    """An hour of a frame a second, in which minutes fit better than others."""
    right = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        scenes = np.convolve(draw.normal(size=4000), np.hanning(400), 'same')[200:3800]
        curve = 0.02 * scenes / scenes.std() + 0.02 * draw.normal(size=3600)
        curve[1800:1810] += 0.1
        best = 1800 + int(curve[1800:1810].argmax())
        assert np.abs(np.subtract(sharpen(curve, best), (1800, 1810))).max() <= 1
        right += np.abs(scan(curve, np.eye(1))[0][0] - [1800, 1810]).max() <= 1
    assert right >= 18


def test_diwan_merges_good_neighbours() -> None:
    frames = np.eye(4)[[0] * 5 + [1] * 5 + [2] * 5 + [3] * 5]
    assert shots(frames).tolist() == [0, 5, 10, 15, 20]
    curve = np.repeat([0.0, 0.9, 1.0, 0.5], 5)
    spans, scores = diwan(curve, frames)
    assert spans.tolist() == [[5, 15]]
    np.testing.assert_allclose(scores, [0.95])
    spans, _ = diwan(np.repeat([1.0, 0.0, 0.8, 0.1], 5), frames)
    assert spans.tolist() == [[0, 5], [10, 15]]


def test_tag_mends_the_curve_and_keeps_scenes_whole() -> None:
    draw = np.random.default_rng(1)
    skewed = np.exp(draw.normal(size=400))
    mended = unskew(skewed)
    assert (np.argsort(mended) == np.argsort(skewed)).all()
    np.testing.assert_allclose([mended.min(), mended.max()], [skewed.min(), skewed.max()])

    def skewness(x: np.ndarray) -> float:
        return abs(float((((x - x.mean()) / x.std()) ** 3).mean()))

    assert skewness(mended) < skewness(skewed) / 10
    frames = np.eye(3)[[0] * 10 + [1] * 10]
    frames[4] = np.eye(3)[2]  # one stray frame splits no scene
    labels = coherent_clusters(frames, 2, 5)
    assert (labels == labels[0]).sum() == 10
    spans, _ = tag(frames[:, 1], frames, clusters=2)
    assert spans[0].tolist() == [10, 20]
