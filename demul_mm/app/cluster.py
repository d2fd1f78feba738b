"""Encoding a library's videos on the machines of a Ray cluster, which find its encoder by name."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from demul_mm.app.sight import sight_of
from demul_mm.cluster import Cluster


class ClusterEncoder:
    """Makes in the workers of a cluster what a library keeps of its videos.

    Args:
        cluster: whose workers they are.
        encoder: see :class:`~demul_mm.app.library.Library`; called in the workers.
    """

    def __init__(self, cluster: Cluster, encoder: Callable[[str | None], Any]) -> None:
        self._cluster, self._make = cluster, encoder

    def encode(
        self, videos: Sequence[str], name: str, fingerprint: str, seconds: float, shots: bool
    ) -> Iterator[tuple[str, bytes | None, str | None]]:
        """Videos as they are done: the path, what is to be kept of it, or why there is nothing.

        Args:
            videos: paths.
            name, fingerprint: those of the library's encoder.
            seconds: between frames.
            shots: whether moments keep to shots.

        Raises:
            ray.exceptions.RayTaskError: a worker has another encoder, or none.
        """
        prepare = partial(_see_with, self._make, name, fingerprint, seconds, shots)
        return self._cluster.run(prepare, videos)


def _see_with(
    make: Callable[[str | None], Any], name: str, fingerprint: str, seconds: float, shots: bool
) -> Callable[[str], bytes]:
    """What makes of a path that which a library keeps of the video."""
    encoder = make(name)
    if encoder.fingerprint != fingerprint:
        raise RuntimeError(f'the encoder {name} has other weights on this machine')
    sight = sight_of(encoder, seconds, shots)

    def see(path: str) -> bytes:
        with TemporaryDirectory(prefix='demul_') as folder:
            file = Path(folder, f'seen{sight.suffix}')
            sight.write(path, file)
            return file.read_bytes()

    return see
