"""The decoders give the same pictures, whatever the file is like."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demul_mm.video import decoding
from demul_mm.video.decoding import checked_timeline, pictures_at, torchcodec_problem
from tests.datasets.test_video_time import FPS, SECONDS, cut_off, patch, scratched, write

av = pytest.importorskip('av')

needs_torchcodec = pytest.mark.skipif(
    torchcodec_problem() is not None, reason=f'torchcodec: {torchcodec_problem()}'
)


def short_header(path: Path) -> Path:
    film = write(path / 'short.mp4')
    patch(film, b'mdhd', 20, (90_000).to_bytes(4, 'big'))
    return film


def turned(path: Path) -> Path:
    film = write(path / 'phone.mp4')
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    patch(film, b'tkhd', 44, b''.join(n.to_bytes(4, 'big', signed=True) for n in matrix))
    return film


def uneven(path: Path, kind: str = 'yuv420p', colours: int = 2) -> Path:
    """Frames are shown for a tenth of a second or for nine; their colours change in every pixel."""
    rng = np.random.default_rng(0)
    with av.open(str(path / 'uneven.mkv'), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'crf': '5', 'bf': '2'})
        stream.width, stream.height, stream.pix_fmt = 64, 48, kind
        stream.codec_context.colorspace = colours
        for index in range(24):
            picture = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts = 5 * index + (4 if index % 2 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path / 'uneven.mkv'


FILMS: dict[str, Callable[[Path], Path]] = dict(
    plain=lambda path: write(path / 'plain.mp4'),
    late_mkv=lambda path: write(path / 'late.mkv', start=5),
    late_ts=lambda path: write(path / 'late.ts', start=5),
    recorded=lambda path: write(path / 'browser.mkv', live='1'),
    short_header=short_header,
    turned=turned,
    cut_off=cut_off,
    scratched=scratched,
    uneven=uneven,
    bt709=lambda path: uneven(path, colours=1),
    yuv444=lambda path: uneven(path, 'yuv444p'),
    full_range=lambda path: uneven(path, 'yuvj420p'),
    ten_bits=lambda path: uneven(path, 'yuv420p10le', colours=1),
)


@needs_torchcodec
@pytest.mark.parametrize('kind', FILMS)
def test_both_decoders_give_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = str(FILMS[kind](tmp_path))
    timeline = checked_timeline(film)
    # At the borders of frames, and on both sides of the film, too.
    times = np.sort(np.r_[np.arange(0, SECONDS, 0.3), np.arange(0.05, SECONDS + 1, 0.7)])
    here = list(pictures_at(film, times, None, timeline))
    monkeypatch.setattr(decoding, 'torchcodec_problem', lambda: 'left out')
    there = list(pictures_at(film, times, None, timeline))
    assert len(here) == len(there) == len(times)
    wrong = [i for i, pair in enumerate(zip(here, there)) if not np.array_equal(*pair)]
    assert not wrong, times[wrong]


@pytest.mark.parametrize('decoder', ['PyAV', pytest.param('torchcodec', marks=needs_torchcodec)])
def test_pictures_are_those_of_their_times(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoder == 'PyAV':
        monkeypatch.setattr(decoding, 'torchcodec_problem', lambda: 'left out')
    film = str(write(tmp_path / 'late.mp4', start=5))
    times = np.array([0.0, 0.05, 0.35, 0.35, 6.05, 11.95, 99.0])
    pictures = list(pictures_at(film, times, None, checked_timeline(film)))
    right = np.minimum(np.floor(times * FPS), SECONDS * FPS - 1)
    shown = [float(picture[:, 40:].mean()) - 10 for picture in pictures]
    np.testing.assert_allclose(shown, right, atol=2.5)
    assert all(picture.shape == (48, 64, 3) for picture in pictures)


@needs_torchcodec
def test_torchcodec_decodes_what_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = str(write(tmp_path / 'plain.mp4'))
    monkeypatch.setattr(decoding, '_by_pyav', lambda *_: pytest.fail('PyAV was asked'))
    assert len(list(pictures_at(film, np.arange(12.0), None, checked_timeline(film)))) == 12
