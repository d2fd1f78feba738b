"""What is installed, where models run, and how fast."""

import importlib.metadata
import platform
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PACKAGES = ('torch', 'transformers', 'mmengine', 'mmaction2', 'faiss-cpu', 'av', 'typer', 'rich')
OPTIONAL = ('torchcodec', 'scenedetect', 'faster-whisper', 'opentimelineio', 'pymilvus')

# Of what speeds are measured with: rows of a matrix, frames of a film.
SIDE, FRAMES = 1024, 50


def findings() -> dict[str, Any]:
    """Versions by name, None for what is missing; the device, its precision, the decoder, speeds.

    The speeds are those of the two things that indexing spends its time on, measured now.
    """
    import torch

    from demul_mm.precision import multiplies_bfloat16
    from demul_mm.version import __version__

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    precision = 'bfloat16' if multiplies_bfloat16(device) else 'float32'
    return dict(
        demul_mm=__version__,
        python=platform.python_version(),
        **{name: _version(name) for name in (*PACKAGES, *OPTIONAL)},
        decoder=_decoder(),
        device=torch.cuda.get_device_name()
        if device == 'cuda'
        else f'cpu, {torch.get_num_threads()} threads',
        precision=precision,
        billion_products_a_second=round(_products(device, getattr(torch, precision)) / 1e9, 1),
        frames_decoded_a_second=_version('av') and round(_frames()),
    )


def _products(device: str, dtype: Any) -> float:
    """Numbers that are multiplied and added in a second, in products of large matrices."""
    import torch

    matrix = torch.ones(SIDE, SIDE, device=device, dtype=dtype)
    return SIDE**3 / _seconds(lambda: (matrix @ matrix)[0, 0].item())  # which waits for a GPU


def _frames() -> float:
    """Frames that are read in a second, of a film of 640 x 360 in H.264."""
    import av
    import numpy as np

    from demul_mm.video.decoding import checked_timeline, pictures_at

    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (45, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, 'film.mp4'))
        with av.open(path, 'w') as container:
            stream = container.add_stream('libx264', rate=25, options={'preset': 'ultrafast'})
            stream.width, stream.height = 640, 360
            for i in range(FRAMES):
                moved = np.roll(picture, 5 * i, 1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format='rgb24')))
            container.mux(stream.encode())
        times, timeline = np.arange(FRAMES) / 25, checked_timeline(path)
        read = _seconds(lambda: sum(1 for _ in pictures_at(path, times, None, timeline)))
        return FRAMES / read


def _seconds(work: Callable[[], Any]) -> float:
    """Of doing something, the best of a few times after the first."""
    work()
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _decoder() -> str:
    from demul_mm.video.decoding import torchcodec_problem

    if _version('av') is None:
        return 'none: pip install "demul-mm[video]"'
    if (problem := torchcodec_problem()) is None:
        return 'torchcodec, and PyAV for what it does not decode'
    return f'PyAV (torchcodec: {problem})' if _version('torchcodec') else 'PyAV'


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
