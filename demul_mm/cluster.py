"""Work on many videos by the machines of a Ray cluster.

Workers send back what they make of a video; only the calling process writes it. All machines
must see the videos at the same paths and have ``demul_mm`` installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Made = TypeVar('Made')

# Tasks submitted per CPU, so that no worker is idle.
WAITING = 2
# Times that a video is begun again because its worker was lost: it may be the video that kills it.
RETRIES = 2


class Cluster:
    """The machines of a Ray cluster.

    Args:
        address: where the cluster is, as ``ray start`` prints it; 'auto': that of this machine.
        gpus: how many a worker has; a part lets several share one.

    Raises:
        ConnectionError: there is none.
        ImportError: ray is missing.
    """

    def __init__(self, address: str, gpus: float = 0) -> None:
        try:
            import ray
        except ImportError:
            raise ImportError('ray is missing: pip install "demul-mm[ray]"') from None
        if not ray.is_initialized():
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
            except ConnectionError as error:
                raise ConnectionError(
                    f'there is no Ray cluster at {address}: ray start --head ({error})'
                ) from None
        self._gpus = gpus

    def run(
        self, prepare: Callable[[], Callable[[str], Made]], videos: Iterable[str]
    ) -> Iterator[tuple[str, Made | None, str | None]]:
        """Videos as they are done: the path, what was made of it, or why there is nothing.

        A worker that is lost costs what it was at; others begin that anew.

        Args:
            prepare: called once in each worker; makes what is called with each path, and raises
                OSError or ValueError where the video is at fault.
            videos: paths.

        Raises:
            ray.exceptions.RayTaskError: something else went wrong in a worker.
        """
        import ray

        lost = ray.exceptions
        losses = (lost.WorkerCrashedError, lost.NodeDiedError, lost.ObjectLostError)
        # By default Ray ends a GPU worker after each task, and what it prepared is lost.
        options = dict(num_cpus=1, num_gpus=self._gpus, max_calls=0, max_retries=RETRIES)
        task = ray.remote(**options)(_work)
        kept = [ray.put(prepare)]  # in a list it is fetched only where it is asked for
        waiting, running = iter(videos), dict[Any, str]()
        while True:
            # Workers come and go.
            room = WAITING * max(1, int(ray.cluster_resources().get('CPU', 1))) - len(running)
            for _, path in zip(range(room), waiting):
                running[task.remote(kept, path)] = path
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            path = running.pop(done)
            try:
                yield path, *ray.get(done)
            except (*losses, lost.OutOfMemoryError) as error:
                why = f'{path}: {RETRIES + 1} workers were lost ({type(error).__name__})'
                yield path, None, why


_prepared: dict[str, Callable[[str], Any]] = {}


def _work(kept: list[Any], path: str) -> tuple[Any, str | None]:
    """In a worker, which keeps what it prepared last."""
    import ray

    (prepare,) = kept
    if prepare.hex() not in _prepared:
        _prepared.clear()
        _prepared[prepare.hex()] = ray.get(prepare)()
    work = _prepared[prepare.hex()]
    try:
        return work(path), None
    except (OSError, ValueError) as error:
        return None, str(error)
