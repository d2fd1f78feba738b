"""Frames become vectors in bounded memory, and windows at all scales."""

from pathlib import Path

import av
import numpy as np
import pytest

from demul_mm.zero_shot import windows as module
from demul_mm.zero_shot.windows import frame_vectors, window_spans, window_vectors


def write_film(path: Path, seconds: int, fps: int = 8) -> Path:
    """A film whose every second has a grey value of its own."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '5'})
        stream.width = stream.height = 32
        for i in range(seconds * fps):
            picture = np.full((32, 32, 3), 20 + 10 * (i // fps), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def test_a_row_for_each_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, sizes, shares = write_film(tmp_path / 'film.mp4', 9), [], []

    def encode(pictures: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(pictures))
        return np.stack([p.mean((0, 1)) for p in pictures])

    rows, duration = frame_vectors(str(film), encode, progress=shares.append)
    assert duration == pytest.approx(9, abs=0.01)
    np.testing.assert_allclose(rows[:, 0], 20 + 10 * np.arange(9), atol=2)
    assert max(sizes) <= module.BATCH
    assert shares == sorted(shares)
    assert shares[-1] == 1
    monkeypatch.setattr(module, 'BATCH', 2)  # where the cuts fall changes nothing
    again, _ = frame_vectors(str(film), encode)
    np.testing.assert_array_equal(again, rows)


@pytest.mark.parametrize('number', [1, 2, 3, 7, 64, 100])
def test_windows_cover_every_scale(number: int) -> None:
    spans = window_spans(number)
    assert len({tuple(span) for span in spans}) == len(spans) < 3 * number + 2
    assert spans.min() == 0
    assert spans.max() == number
    for frame in range(number):
        inside = (spans[:, 0] <= frame) & (frame < spans[:, 1])
        sizes = set((spans[:, 1] - spans[:, 0])[inside])
        assert {2**k for k in range(10) if 2**k < number} | {number} <= sizes


@pytest.mark.parametrize('shots', [[0], [0, 4, 5, 33], list(range(40))])
def test_windows_keep_to_shots(shots: list[int]) -> None:
    spans = window_spans(40, shots)
    assert len({tuple(span) for span in spans}) == len(spans) < 6 * 40 + 2
    borders = {*shots, 40}
    for start, end in spans.tolist():
        assert {start, end} <= borders or not borders & set(range(start + 1, end))
    found = set(map(tuple, spans.tolist()))
    assert {*zip([*shots], [*shots[1:], 40])} | {(0, 40)} <= found  # each shot, and the whole
    assert {(i, i + 1) for i in range(40)} <= found


def test_a_window_is_the_mean_of_its_frames() -> None:
    frames = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    spans = window_spans(50)
    found = window_vectors(frames, spans)
    for (start, end), vector in zip(spans, found):
        mean = frames[start:end].mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
