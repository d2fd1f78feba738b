"""A cut holds the frames of the moment and no others."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from demul_mm.video.cutting import cut


@pytest.fixture(scope='module')
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds at 10 frames a second, a key frame each 2 s; grey 2 * frame + 10, and a tone."""
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    with av.open(str(path), 'w') as container:
        options = {'crf': '5', 'g': '20', 'keyint_min': '20', 'sc_threshold': '0', 'bf': '2'}
        video = container.add_stream('libx264', rate=10, options=options)
        video.width = video.height = 32
        sound = container.add_stream('aac', rate=48_000)
        for i in range(100):
            picture = np.full((32, 32, 3), 2 * i + 10, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(video.encode())
        tone = (8000 * np.sin(np.arange(480_000) / 20)).astype(np.float32)[None] / 32768
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2, 0), format='fltp', layout='stereo')
        frame.rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def shown(path: Path) -> tuple[list[float], list[float], float]:
    """Frames of the film that a file holds, when each is shown, and seconds of sound."""
    with av.open(str(path)) as container:
        frames = [(f.to_ndarray(format='rgb24').mean(), f.time) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        samples = sum(f.samples for f in container.decode(audio=0))
    return [(m - 10) / 2 for m, _ in frames], [t for _, t in frames], samples / 48_000


@pytest.mark.parametrize(('start', 'end'), [(3.0, 4.5), (0.0, 0.5), (2.55, 2.95), (9.0, 20.0)])
def test_exactly(film: Path, tmp_path: Path, start: float, end: float) -> None:
    assert cut(film, tmp_path / 'cut.mp4', start, end) == (start, pytest.approx(min(end, 10)))
    frames, times, sound = shown(tmp_path / 'cut.mp4')
    expected = [i for i in range(100) if start - 1e-6 <= i / 10 < end - 1e-6]
    np.testing.assert_allclose(frames, expected, atol=0.75)
    np.testing.assert_allclose(times, [i / 10 - start for i in expected], atol=0.01)
    assert sound == pytest.approx(min(end, 10) - start, abs=0.06)


def test_fast_begins_at_a_key_frame(film: Path, tmp_path: Path) -> None:
    start, end = cut(film, tmp_path / 'cut.mp4', 3.0, 4.5, fast=True)
    assert (start, end) == (pytest.approx(2.0, abs=0.01), 4.5)
    frames, times, _ = shown(tmp_path / 'cut.mp4')
    np.testing.assert_allclose(frames[:25], np.arange(20, 45), atol=0.75)
    assert len(frames) <= 25 + 3  # what its B-frames need
    assert times[0] == pytest.approx(0, abs=0.21)


def test_what_cannot_be_cut(film: Path, tmp_path: Path) -> None:
    target = tmp_path / 'cut.mp4'
    with pytest.raises(ValueError, match='0 <= start < end'):
        cut(film, target, 2, 1)
    with pytest.raises(ValueError, match=r'ends at 10\.00 s'):
        cut(film, target, 11, 12)
    with pytest.raises(FileNotFoundError):
        cut(tmp_path / 'none.mp4', target, 0, 1)
    assert not target.exists()
    for name in ('cut', 'cut.webm', 'cut.jpg', 'cut.xyz'):
        for fast in (False, True):
            with pytest.raises(ValueError, match=f'{name} cannot be .*'):
                cut(film, tmp_path / name, 0, 1, fast)
    with av.open(str(tmp_path / 'sound.wav'), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000, layout='mono')
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match='has no pictures'):
        cut(tmp_path / 'sound.wav', target, 0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ['sound.wav']


def test_a_video_is_not_cut_into_itself(film: Path, tmp_path: Path) -> None:
    (tmp_path / 'link.mp4').symlink_to(film)
    before = film.read_bytes()
    with pytest.raises(ValueError, match='is the video itself'):
        cut(film, tmp_path / 'link.mp4', 1, 2)
    assert film.read_bytes() == before
