"""A cut holds the frames of the moment and no others."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from demul_mm.video.cutting import cut


@pytest.fixture(scope='module', params=['mp4', 'mkv', 'ts'])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds at 10 frames a second, a key frame each 2 s; grey 2 * frame + 10, and a tone."""
    path = tmp_path_factory.mktemp('film') / f'film.{request.param}'
    return make_film(path, [i / 10 for i in range(100)])


def make_film(path: Path, times: list[float], silence: float = 0.0) -> Path:
    """A frame at each time, and a tone of ten seconds after a silence."""
    with av.open(str(path), 'w') as container:
        options = {'crf': '5', 'g': '20', 'keyint_min': '20', 'sc_threshold': '0', 'bf': '2'}
        video = container.add_stream('libx264', rate=10, options=options)
        video.width = video.height = 32
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream('aac', rate=48_000)
        for i, time in enumerate(times):
            picture = np.full((32, 32, 3), 2 * i + 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        tone = (8000 * np.sin(np.arange(480_000) / 20)).astype(np.float32)[None] / 32768
        heard = av.AudioFrame.from_ndarray(np.repeat(tone, 2, 0), format='fltp', layout='stereo')
        heard.rate, heard.pts, heard.time_base = (
            48_000,
            round(silence * 48_000),
            Fraction(1, 48_000),
        )
        container.mux(sound.encode(heard))
        container.mux(sound.encode())
    return path


def shown(path: Path) -> tuple[list[float], list[float], float]:
    """Frames of the film that a file holds, when each is shown, and seconds of sound."""
    with av.open(str(path)) as container:
        frames = [(f.to_ndarray(format='rgb24').mean(), f.time) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        samples = sum(f.samples for f in container.decode(audio=0))
    return [(m - 10) / 2 for m, _ in frames], [t for _, t in frames], samples / 48_000


@pytest.mark.parametrize(
    ('start', 'end'), [(3.0, 4.5), (0.0, 0.5), (2.55, 2.95), (5.2, 7.2), (9.0, 20.0)]
)
def test_exactly(film: Path, tmp_path: Path, start: float, end: float) -> None:
    assert cut(film, tmp_path / 'cut.mp4', start, end) == (start, pytest.approx(min(end, 10)))
    frames, times, sound = shown(tmp_path / 'cut.mp4')
    expected = [i for i in range(100) if start - 0.1 + 1e-6 < i / 10 < end - 1e-6]
    np.testing.assert_allclose(frames, expected, atol=0.75)
    np.testing.assert_allclose(times, [max(0, i / 10 - start) for i in expected], atol=0.01)
    assert sound == pytest.approx(min(end, 10) - start, abs=0.06)


def test_fast_begins_at_a_key_frame(film: Path, tmp_path: Path) -> None:
    start, end = cut(film, tmp_path / 'cut.mp4', 3.0, 4.5, fast=True)
    assert (start, end) == (pytest.approx(2.0, abs=0.01), 4.5)
    frames, times, sound = shown(tmp_path / 'cut.mp4')
    np.testing.assert_allclose(frames[:25], np.arange(20, 45), atol=0.75)
    assert len(frames) <= 25 + 3  # what its B-frames need
    assert times[0] == pytest.approx(0, abs=0.21)
    assert sound == pytest.approx(2.5, abs=0.1)


def test_fast_loses_nothing_wherever_it_ends(film: Path, tmp_path: Path) -> None:
    for last in range(23, 99):
        start, _ = cut(film, tmp_path / 'cut.mp4', 2.2, last / 10, fast=True)
        assert start == pytest.approx(2.0, abs=0.01)
        frames, _, _ = shown(tmp_path / 'cut.mp4')
        np.testing.assert_allclose(frames[: last - 20], np.arange(20, last), atol=0.75)


@pytest.mark.parametrize('span', [(4.0, 7.0), (4.0, 9.0), (9.0, 13.0)])
def test_a_slide_is_shown_as_long_as_it_stays(tmp_path: Path, span: tuple[float, float]) -> None:
    film = make_film(tmp_path / 'slides.mp4', [0, 3, 8, 9.5])
    _, end = cut(film, tmp_path / 'cut.mp4', *span)
    with av.open(str(tmp_path / 'cut.mp4')) as container:
        found = {f.time: f.to_ndarray(format='rgb24').mean() for f in container.decode(video=0)}
    asked = np.arange(0, end - span[0], 0.25)
    begun = np.searchsorted(list(found), asked + 0.01) - 1
    slides = np.searchsorted([0, 3, 8, 9.5], span[0] + asked + 0.01) - 1
    np.testing.assert_allclose(np.array(list(found.values()))[begun], 2 * slides + 10, atol=1)
    assert max(found) == pytest.approx(end - span[0] - 0.1, abs=0.05)


@pytest.mark.parametrize('fast', [False, True])
def test_sound_that_begins_late_stays_with_its_pictures(tmp_path: Path, fast: bool) -> None:
    film = make_film(tmp_path / 'late.mkv', [i / 10 for i in range(80)], silence=3)
    start, _ = cut(film, tmp_path / 'cut.mp4', 1, 6, fast)
    with av.open(str(tmp_path / 'cut.mp4')) as container:
        first = next(f for f in container.decode(audio=0) if np.abs(f.to_ndarray()).max() > 0.1)
    assert first.time == pytest.approx(3 - start, abs=0.06)


def test_fast_needs_a_key_frame(tmp_path: Path) -> None:
    whole, film = make_film(tmp_path / 'whole.mp4', [i / 10 for i in range(80)]), tmp_path / 'f.mkv'
    with av.open(str(whole)) as source, av.open(str(film), 'w') as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in list(source.demux(video))[1:]:
            if packet.pts is not None:
                packet.stream = copy
                target.mux(packet)
    with pytest.raises(ValueError, match=r'f\.mkv has no key frame up to 1 s to copy from; cut it'):
        cut(film, tmp_path / 'cut.mp4', 1, 1.5, fast=True)


def test_what_cannot_be_cut(film: Path, tmp_path: Path) -> None:
    target = tmp_path / 'cut.mp4'
    with pytest.raises(ValueError, match='0 <= start < end'):
        cut(film, target, 2, 1)
    with pytest.raises(ValueError, match=r'ends at 10\.00 s'):
        cut(film, target, 11, 12)
    with pytest.raises(ValueError, match=r'shows nothing from 2 to 2\.00001 s$'):
        cut(film, target, 2, 2.00001)
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
