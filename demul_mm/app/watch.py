"""Keeping a library up to date as its folders change."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from demul_mm.app.library import Library, Report


class Settled:
    """Whether a file is as it was at the last look: what is still being written is left alone."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def __call__(self, path: str, key: str) -> bool:
        before, self._seen[path] = self._seen.get(path), key
        return before == key


def watch(
    library: Library,
    sources: Sequence[str | Path],
    seconds: float,
    done: Callable[[Report], None],
    progress: Callable[[str, float, int, int], None] | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Update a library again and again, until it is interrupted.

    A file is added when two looks in a row find it the same. A folder that is not there for a while
    is waited for.

    Args:
        sources: see :meth:`~demul_mm.app.library.Library.update`.
        seconds: between two looks.
        done: called after each update that changed something.
        progress: see :meth:`~demul_mm.app.library.Library.update`.
    """
    settled, told = Settled(), False
    while True:
        try:
            report = library.update(sources, progress=progress, ready=settled)
        except FileNotFoundError:
            if not told:
                raise
        else:
            if report.added or report.forgotten or not told:
                done(report)
            told = True
        wait(seconds)
