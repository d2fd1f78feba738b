"""Keeping a library up to date as its folders change."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.logging import MMLogger

from demul_mm.app.library import BusyError, Library, Report


class Settled:
    """Whether a file has not changed since the last look; else it may still be being written."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def __call__(self, path: str, key: str) -> bool:
        before, self._seen[path] = self._seen.get(path), key
        return before == key


def watch(
    library: Library,
    sources: Sequence[str | Path],
    seconds: float,
    progress: Callable[[str, float, int, int], None] | None = None,
    retry: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Report]:
    """Update a library again and again.

    A file is added when two looks in a row find it the same. What is not there for a while, after
    the first look, is waited for, and so is another process that updates the library.

    Args:
        sources: see :meth:`~demul_mm.app.library.Library.update`.
        seconds: between two looks.
        progress: see :meth:`~demul_mm.app.library.Library.update`.
        retry: try again once what was broken before.

    Yields:
        A report of each look, with what was not broken at the one before.
    """
    settled, looks, problem = Settled(), 0, ''
    broken: list[tuple[str, str]] = []
    while True:
        try:
            report = library.update(sources, retry and looks < 2, progress, settled)
        except (OSError, BusyError) as error:
            if not looks and not isinstance(error, BusyError):
                raise
            if problem != str(error):
                MMLogger.get_current_instance().warning(f'will look again: {error}')
            problem = str(error)
        else:
            yield report._replace(broken=[one for one in report.broken if one not in broken])
            looks, broken, problem = looks + 1, report.broken, ''
        wait(seconds)
