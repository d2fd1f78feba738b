"""Times are those of the frames, whatever the header of a file says, and as much as can be read."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from mmengine.logging import MMLogger

from demul_mm.video.clips import decode_clips
from demul_mm.video.frames import read_key_frames

FPS, SECONDS = 10, 12
GREY = 58  # mean of the first frame: 60, less what the conversion to YUV and back takes


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def write(path: Path, start: int = 0, gop: int = 12, **options: str) -> Path:
    """Twelve seconds: frame i is of grey 10 + i, its left half 100 brighter."""
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream('libx264', rate=FPS, options={'crf': '5', 'bf': '2'})
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.gop_size = gop
        for index in range(SECONDS * FPS):
            picture = np.full((48, 64, 3), 10 + index, np.uint8)
            picture[:, :32] += 100
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts = index + start * FPS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path, num_clips: int = 24) -> tuple[np.ndarray, float]:
    """Indices of the frames in the middle of each clip, and the duration."""
    clips, duration = decode_clips(str(path), num_clips=num_clips, frames_per_clip=1, size=16)
    return clips.mean((1, 2, 3, 4)) - GREY, duration


def expected(num_clips: int = 24) -> np.ndarray:
    return np.floor((np.arange(num_clips) + 0.5) * SECONDS * FPS / num_clips)


def patch(path: Path, box: bytes, offset: int, content: bytes) -> None:
    """Write over a part of a box of an mp4, counted from its name on."""
    data = bytearray(path.read_bytes())
    place = data.index(box) + offset
    data[place : place + len(content)] = content
    path.write_bytes(bytes(data))


def cut_off(path: Path) -> Path:
    """A film whose last bytes are missing."""
    film = write(path / 'cut.mp4', movflags='faststart')
    film.write_bytes(film.read_bytes()[:-30])
    return film


def scratched(path: Path, which: slice = slice(10, 30)) -> Path:
    """A film of which some packets are overwritten."""
    film = write(path / 'scratched.mp4', movflags='faststart')
    with av.open(str(film)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(film.read_bytes())
    for place, size in packets[which]:
        data[place : place + size] = bytes([255]) * size
    film.write_bytes(bytes(data))
    return film


def test_a_header_that_is_too_short(tmp_path: Path) -> None:
    film = write(tmp_path / 'short.mp4')
    data = film.read_bytes()
    place = data.index(b'mdhd')
    ticks = int.from_bytes(data[place + 20 : place + 24], 'big')
    patch(film, b'mdhd', 20, (ticks * 8 // 10).to_bytes(4, 'big'))
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) < 10
    frames, duration = shown(film)
    assert duration == pytest.approx(SECONDS, abs=0.01)
    np.testing.assert_allclose(frames, expected(), atol=1.5)


@pytest.mark.parametrize('suffix', ['mkv', 'ts', 'mp4'])
def test_a_file_that_starts_later(tmp_path: Path, suffix: str) -> None:
    film = write(tmp_path / f'late.{suffix}', start=5)
    frames, duration = shown(film)
    assert duration == pytest.approx(SECONDS, abs=0.11)
    np.testing.assert_allclose(frames, expected(), atol=1.5)
    first, last = read_key_frames(film, [0.05, 11.95], height=48)
    assert abs(first.image.mean() - GREY) < 3
    assert abs(last.image.mean() - GREY - 119) < 3
    assert (first.seconds, last.seconds) == (0.05, 11.95)


@pytest.mark.parametrize(
    ('degrees', 'bright'),
    [(0, np.s_[:, :12]), (90, np.s_[:12]), (180, np.s_[:, 20:]), (270, np.s_[20:])],
)
def test_a_turned_phone(tmp_path: Path, degrees: int, bright: tuple) -> None:
    """What was left of the sensor is above when the picture is to be turned clockwise by 90."""
    film = write(tmp_path / 'phone.mp4')
    one = 1 << 16
    cos, sin = {0: (one, 0), 90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    matrix = [cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30]
    patch(film, b'tkhd', 44, b''.join(n.to_bytes(4, 'big', signed=True) for n in matrix))
    clips, _ = decode_clips(str(film), num_clips=2, frames_per_clip=1, size=(32, 32))
    picture = clips[0, :, 0].mean(0)
    (key,) = read_key_frames(film, [0.5], height=32)
    assert key.image.shape[:2] == ((32, 43) if degrees % 180 == 0 else (32, 24))
    for image in (picture, key.image[:, :, 0].astype(float)):
        side = image[bright] if image.shape[1] == 32 else None
        if side is not None:
            assert side.mean() > image.mean() + 20


def test_the_last_bytes_are_missing(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    frames, duration = shown(cut_off(tmp_path))
    assert duration == pytest.approx(SECONDS, abs=0.31)
    np.testing.assert_allclose(frames, expected(), atol=4)


def test_corrupt_packets_are_left_out_and_told(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    frames, duration = shown(scratched(tmp_path))
    assert duration == pytest.approx(SECONDS, abs=0.01)
    well = np.r_[0:1, 10:24]  # clips of half a second
    np.testing.assert_allclose(frames[well], expected()[well], atol=1.5)
    assert (frames < 120).all()
    (told,) = [r.message for r in log.records if 'cannot be decoded' in r.message]
    lost = int(told.split(': ')[1].split(' of ')[0])
    assert 15 <= lost <= 30
    film = scratched(tmp_path, slice(5, None))
    with pytest.raises(ValueError, match='readable up to'):
        shown(film)


def test_a_recording_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    film = write(tmp_path / 'browser.mkv', live='1')
    with av.open(str(film)) as container:
        assert container.duration is None
        assert container.streams.video[0].duration is None
    frames, duration = shown(film)
    assert duration == pytest.approx(SECONDS, abs=0.11)
    np.testing.assert_allclose(frames, expected(), atol=1.5)
