"""Updating a library while it is searched."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from demul_mm.app.alerts import Alerts, Event
from demul_mm.app.library import Library


class Stopped(Exception):
    """The update was stopped; what was encoded is kept."""


class Updates:
    """The update of a library that runs in a thread of its own, one at a time.

    Args:
        library: what is updated.
        allowed: folders below which folders may be added, without links.
        tell: called with what alerts without file or webhook find in what was added.
    """

    def __init__(
        self, library: Library, allowed: Sequence[Path], tell: Callable[[Event], None]
    ) -> None:
        self.library, self.allowed, self._tell_event = library, list(allowed), tell
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._state: dict[str, Any] = dict(file=None, done=0, total=0, share=0.0)

    def start(self, folders: Sequence[str]) -> None:
        """Add folders; none: look again at those that were added before.

        Raises:
            PermissionError: a folder is not below an allowed one.
            FileNotFoundError: there is no such folder.
            ValueError: an update runs already.
        """
        sources = [self._checked(folder) for folder in folders]
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise ValueError('an update is running; wait for it, or stop it')
            self._stop.clear()
            self._state = dict(file=None, done=0, total=0, share=0.0)
            self._thread = threading.Thread(target=self._run, args=(sources,), daemon=True)
            self._thread.start()

    def _checked(self, folder: str) -> Path:
        # What is not allowed is not looked at: an answer would say what is there.
        path = Path(os.path.realpath(os.path.expanduser(folder)))
        if not any(path == root or root in path.parents for root in self.allowed):
            names = ', '.join(map(str, self.allowed)) or 'none; start with --allow FOLDER'
            raise PermissionError(f'{folder} is not below the folders that are allowed: {names}')
        if not os.path.isdir(path):  # also of a name that is too long for one
            raise FileNotFoundError(f'there is no folder {folder}')
        return path

    def stop(self, wait: bool = False) -> None:
        """Have it end soon; the next goes on from there."""
        self._stop.set()
        if wait and self._thread is not None:
            self._thread.join()

    def state(self) -> dict[str, Any]:
        """How far it is; ``report`` or ``error`` when it has ended."""
        running = self._thread is not None and self._thread.is_alive()
        return dict(self._state, running=running)  # read last: it says how an update has ended

    def _run(self, sources: Sequence[Path]) -> None:
        ended: dict[str, Any]
        try:
            report = self.library.update(sources, progress=self._tell)
            events = Alerts(self.library).run(self._tell_event, check=self._check)
            broken = [dict(path=path, error=error) for path, error in report.broken]
            alerts = [asdict(event) for event in events]
            ended = dict(report=dict(report._asdict(), broken=broken, alerts=alerts))
        except Stopped:
            ended = dict(error='stopped; the next update goes on from there')
        except Exception as error:  # whatever it is, the page must be told
            MMLogger.get_current_instance().exception('the update failed')
            ended = dict(error=str(error))
        self._state = dict(self._state, **ended)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _tell(self, path: str, share: float, done: int, total: int) -> None:
        self._check()
        self._state = dict(file=Path(path).name, done=done, total=total, share=round(share, 3))
