"""Encoding a library's videos on the machines of a Ray cluster.

Workers make what is kept of a video and send it back; the process that owns the library alone
writes. All machines must see the videos at the same paths, have ``demul_mm`` installed, and find
the encoder by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from demul_mm.app.sight import Sight, sight_of

# A task waits for each that is at work, so that no worker waits for the owner.
WAITING = 2
# Times that a video is begun again because its worker was lost: it may be the video that kills it.
RETRIES = 2


class Recipe(NamedTuple):
    """How a worker is to see: the library's encoder, and the seconds between frames."""

    make: Callable[[str | None], Any]
    name: str
    fingerprint: str
    seconds: float


class Cluster:
    """The machines of a Ray cluster.

    Args:
        address: of the cluster, as ``ray start`` prints it; 'auto': that of this machine.
        encoder: see :class:`~demul_mm.app.library.Library`; called in the workers.
        gpus: of a worker; a part lets several share one.

    Raises:
        ConnectionError: there is none.
    """

    def __init__(self, address: str, encoder: Callable[[str | None], Any], gpus: float = 0) -> None:
        import ray

        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        self._make, self._gpus = encoder, gpus

    def encode(
        self, videos: Sequence[str], name: str, fingerprint: str, seconds: float
    ) -> Iterator[tuple[str, bytes | None, str | None]]:
        """Videos as they are done: the path, what is to be kept of it, or why there is nothing.

        A worker that is lost costs what it was at; others begin that anew.

        Args:
            videos: paths.
            name, fingerprint: of the library's encoder.
            seconds: between frames.

        Raises:
            ray.exceptions.RayTaskError: a worker has another encoder, or none.
        """
        import ray

        lost = ray.exceptions
        losses = (lost.WorkerCrashedError, lost.NodeDiedError, lost.ObjectLostError)
        task = ray.remote(num_cpus=1, num_gpus=self._gpus, max_retries=RETRIES)(_see)
        recipe = ray.put(Recipe(self._make, name, fingerprint, seconds))
        waiting, running = iter(videos), dict[Any, str]()
        while True:
            # Workers come and go.
            room = WAITING * max(1, int(ray.cluster_resources().get('CPU', 1))) - len(running)
            for _, path in zip(range(room), waiting):
                running[task.remote(recipe, path)] = path
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            path = running.pop(done)
            try:
                yield path, *ray.get(done)
            except (*losses, lost.OutOfMemoryError) as error:
                yield (
                    path,
                    None,
                    f'{path}: {RETRIES + 1} workers were lost ({type(error).__name__})',
                )


_sights: dict[tuple[str, str, float], Sight] = {}


def _see(recipe: Recipe, path: str) -> tuple[bytes | None, str | None]:
    """In a worker, which keeps its encoder."""
    which = recipe[1:]
    if which not in _sights:
        encoder = recipe.make(recipe.name)
        if encoder.fingerprint != recipe.fingerprint:
            raise RuntimeError(f'the encoder {recipe.name} has other weights on this machine')
        _sights[which] = sight_of(encoder, recipe.seconds)
    sight = _sights[which]
    with TemporaryDirectory(prefix='demul_') as folder:
        file = Path(folder, f'seen{sight.suffix}')
        try:
            sight.write(path, file)
        except (OSError, ValueError) as error:
            return None, str(error)
        return file.read_bytes(), None
