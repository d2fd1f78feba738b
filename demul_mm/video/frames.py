"""Pictures of a video file: single ones, and several side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from demul_mm.structures.spans import SECONDS
from demul_mm.video.pyav import import_av
from demul_mm.video.timeline import SOON, seek, upright


class KeyFrame(NamedTuple):
    """One picture of a video."""

    seconds: float
    image: np.ndarray  # (H, W, 3) uint8, RGB


def even_times(duration: float, num: int) -> list[float]:
    """The middles of ``num`` equal parts of a video, in seconds."""
    return [(i + 0.5) * duration / num for i in range(num)]


def read_key_frames(path: str | Path, times: Sequence[float], height: int = 90) -> list[KeyFrame]:
    """Decode the frames shown at the given times.

    Args:
        path: video file.
        times: seconds; a time past the last frame gives the last frame.
        height: that of the pictures in pixels; the width follows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no video, or a damaged one.
    """
    av = import_av()

    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no video file {path}')
    try:
        with av.open(str(path), metadata_errors='replace') as container:
            return [_frame_at(container, time, height) for time in times]
    except (av.error.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f'{path} cannot be decoded ({error}); is the file complete?') from None


def _frame_at(container, seconds: float, height: int) -> KeyFrame:
    """Seek to the key frame before a time and decode up to it."""
    stream, asked = container.streams.video[0], seconds
    seconds = min(seconds, SECONDS[1])  # no video is longer, and a seek takes no larger number
    seconds += float((stream.start_time or 0) * stream.time_base)  # on the clock of the file
    seek(container, stream, seconds)
    frame = None
    try:
        for following in container.decode(stream):
            if following.time is None:
                continue
            if frame is None or following.time <= seconds + SOON:
                frame = following
            if following.time >= seconds - SOON:
                break
    except import_av().error.FFmpegError:
        length = 1 / (stream.average_rate or 25)
        if frame is None or frame.time + length <= seconds + SOON:  # another is shown then
            raise
    if frame is None:
        raise StopIteration(f'no frame at {asked:.2f} s')
    picture = upright(frame.to_ndarray(format='rgb24'), frame)
    width = max(2, round(picture.shape[1] * height / picture.shape[0]))
    image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return KeyFrame(asked, image)


def encode_jpeg(image: np.ndarray, quality: int = 80) -> bytes:
    """An RGB picture ``(H, W, 3)`` uint8 as the bytes of a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f'a picture of shape {image.shape} cannot be written as JPEG')
    return data.tobytes()


def sprite_sheet(path: str | Path, times: Sequence[float], height: int = 90) -> bytes:
    """The frames shown at the given times side by side, from left to right, as a JPEG file.

    Args:
        path: video file.
        times: seconds, at least one; see :func:`read_key_frames`, which also says what is raised.
        height: that of the pictures in pixels; each is as wide as the others.
    """
    frames = read_key_frames(path, times, height)
    return encode_jpeg(np.hstack([frame.image for frame in frames]))
