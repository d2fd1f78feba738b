"""Films whose frames are shown at any times."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_at(
    path: Path, times: Sequence[float], greys: Sequence[int] | None = None, **options: str
) -> Path:
    """Frames shown from given seconds on, of given or of random pictures; to x264: ``options``."""
    rng = np.random.default_rng(0)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=30, options=dict(crf='10') | options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
            if greys is not None:
                picture[:] = greys[number]
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
