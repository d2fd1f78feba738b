"""A tiny video whose brightness tells the time."""

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, seconds: int, fps: int = 8) -> None:
    """Grey frames: frame ``i`` has the value ``4 * i``."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.gop_size = fps  # a key frame each second, so that seeking is exercised
        for i in range(seconds * fps):
            image = np.full((48, 64, 3), 4 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
