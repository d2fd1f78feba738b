"""Encoding a library's videos on the machines of a Ray cluster, which find its encoder by name."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from demul_mm.app.video_model import video_model
from demul_mm.cluster import Cluster


def encode_on(
    cluster: Cluster,
    make: Callable[[str | None], Any],
    videos: Sequence[str],
    name: str,
    fingerprint: str,
    seconds: float,
    shots: bool,
) -> Iterator[tuple[str, bytes | None, str | None]]:
    """Videos as they are done: the path, what is to be kept of it, or why there is nothing.

    Args:
        cluster: whose workers encode.
        make: the ``encoder`` of :class:`~demul_mm.app.library.Library`; called in the workers.
        videos: paths.
        name, fingerprint: those of the library's encoder.
        seconds: between frames.
        shots: whether moments keep to shots.

    Raises:
        ray.exceptions.RayTaskError: a worker has another encoder, or none.
    """
    return cluster.run(partial(_see_with, make, name, fingerprint, seconds, shots), videos)


def _see_with(
    make: Callable[[str | None], Any], name: str, fingerprint: str, seconds: float, shots: bool
) -> Callable[[str], bytes]:
    """What makes of a path that which a library keeps of the video."""
    encoder = make(name)
    if encoder.fingerprint != fingerprint:
        raise RuntimeError(f'the encoder {name} has other weights on this machine')
    model = video_model(encoder, seconds, shots)

    def see(path: str) -> bytes:
        with TemporaryDirectory(prefix='demul_') as folder:
            file = Path(folder, f'seen{model.suffix}')
            model.write(path, file)
            return file.read_bytes()

    return see
