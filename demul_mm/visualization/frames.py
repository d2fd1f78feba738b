"""Key frames of a video file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


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
        height: of the pictures in pixels; the width follows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no video, or a damaged one.
    """
    import av

    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no video file {path}')
    try:
        with av.open(str(path)) as container:
            return [_frame_at(container, time, height) for time in times]
    except (av.error.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f'{path} cannot be decoded ({error}); is the file complete?') from None


def _frame_at(container, seconds: float, height: int) -> KeyFrame:
    """Seek to the key frame before a time and decode up to it."""
    stream = container.streams.video[0]
    container.seek(max(0, int(seconds / stream.time_base)), stream=stream, backward=True)
    half = 0.5 / float(stream.average_rate or 25)
    frame = None
    for frame in container.decode(stream):
        if frame.time is not None and frame.time >= seconds - half:
            break
    if frame is None:
        raise StopIteration(f'no frame at {seconds:.2f} s')
    width = max(2, round(frame.width * height / frame.height))
    image = cv2.resize(
        frame.to_ndarray(format='rgb24'), (width, height), interpolation=cv2.INTER_AREA
    )
    return KeyFrame(seconds, image)


def encode_jpeg(image: np.ndarray, quality: int = 80) -> bytes:
    """An RGB picture ``(H, W, 3)`` uint8 as the bytes of a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f'a picture of shape {image.shape} cannot be written as JPEG')
    return data.tobytes()
