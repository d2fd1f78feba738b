"""Pictures of a video are those of their times."""

import av
import cv2
import numpy as np
import pytest

from demul_mm.video.frames import encode_jpeg, even_times, read_key_frames, sprite_sheet
from tests.video.films import write_at
from tests.visualization.helpers import write_video


def test_even_times_are_the_middles_of_equal_parts():
    assert even_times(10.0, 4) == [1.25, 3.75, 6.25, 8.75]


def test_key_frames_are_those_of_their_times(tmp_path):
    write_video(tmp_path / 'v.mp4', seconds=6)
    times = [4.5, 0.0, 2.25, 99.0, 1e308]  # in any order; two are past the end
    frames = read_key_frames(tmp_path / 'v.mp4', times, height=24)
    assert [frame.seconds for frame in frames] == times
    assert all(frame.image.shape == (24, 32, 3) for frame in frames)
    brightness = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, [4 * 36, 0, 4 * 18, 4 * 47, 4 * 47], atol=5)


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'ts'])
def test_a_picture_that_stays_is_shown_until_the_next(kind, tmp_path):
    film = write_at(tmp_path / f'v.{kind}', [0, 10, 20, 30, 40], [20, 60, 100, 140, 180])
    frames = read_key_frames(film, [0.0, 9.9, 10.0, 16.0, 27.0, 39.99, 40.0])
    brightness = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, [20, 20, 60, 60, 100, 140, 180], atol=5)


def test_a_printed_time_shows_the_frame_that_begins_there(tmp_path):
    """Printed times are off by half a millisecond at most."""
    film = write_at(tmp_path / 'v.mp4', [0, 1.033, 2.033], [20, 100, 180])
    frames = read_key_frames(film, [1.031, 1.0325, 1.034, 2.031, 2.0325])
    brightness = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, [20, 100, 100, 100, 180], atol=5)


def test_damage_takes_away_no_frame_before_it(tmp_path):
    film = tmp_path / 'v.mp4'
    write_video(film, seconds=4)
    with av.open(str(film)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        place, size = packet.pos, packet.size
    content = film.read_bytes()
    film.write_bytes(content[:place] + bytes(size) + content[place + size :])
    images = read_key_frames(film, [18 / 8, 18.9 / 8, 19 / 8, 19.9 / 8])
    brightness = [float(frame.image.mean()) for frame in images]
    np.testing.assert_allclose(brightness, [72, 72, 76, 76], atol=3)
    with pytest.raises(ValueError, match=r'v\.mp4 cannot be decoded'):
        read_key_frames(film, [20 / 8])


def test_a_file_that_is_no_video_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no video file .*none.mp4'):
        read_key_frames(tmp_path / 'none.mp4', [0.0])
    (tmp_path / 'bad.mp4').write_bytes(b'x' * 100)
    with pytest.raises(ValueError, match=r'bad.mp4 cannot be decoded'):
        read_key_frames(tmp_path / 'bad.mp4', [0.0])


def test_jpeg_keeps_the_colours():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200  # red
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert abs(int(decoded[16, 16, 2]) - 200) < 10
    assert decoded[16, 16, 0] < 20


def test_a_sheet_has_its_frames_side_by_side(tmp_path):
    write_video(tmp_path / 'v.mp4', seconds=6)
    sheet = sprite_sheet(tmp_path / 'v.mp4', [4.5, 0.0, 2.25], height=24)
    decoded = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (24, 3 * 32, 3)
    brightness = [float(decoded[:, 32 * i + 4 : 32 * i + 28].mean()) for i in range(3)]
    np.testing.assert_allclose(brightness, [4 * 36, 0, 4 * 18], atol=8)
