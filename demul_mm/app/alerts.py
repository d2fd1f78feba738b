"""Standing queries: sentences that are asked of every video that is added."""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import MMLogger

from demul_mm.app.catalogue import VideoRow
from demul_mm.app.library import Library
from demul_mm.app.webhook import PAUSES, check_address, post

FILE = 'alerts.sqlite'
SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY, sentence TEXT NOT NULL, threshold REAL NOT NULL, file TEXT,
    webhook TEXT);
CREATE TABLE IF NOT EXISTS asked (
    alert INTEGER NOT NULL REFERENCES alerts ON DELETE CASCADE, key TEXT NOT NULL,
    PRIMARY KEY (alert, key)) WITHOUT ROWID;
"""
# Seconds for which a file or an address that failed is left alone: at first, and at most.
REST, LONGEST_REST = 60.0, 600.0


class Alert(NamedTuple):
    """A sentence, and where it is told which videos hold it."""

    id: int
    sentence: str
    threshold: float
    file: str | None
    webhook: str | None


@dataclass(frozen=True)
class Event:
    """A moment of a new video that fits an alert; ``score`` is what passed the threshold."""

    alert: int
    sentence: str
    video: str
    start: float
    end: float
    score: float


class Alerts:
    """The standing queries of a library.

    Each asks a video once: whatever a killed run did not tell is told by the next, at worst twice.

    A file or an address that takes nothing is left alone for a while, longer each time; meanwhile
    other alerts go on.

    Args:
        library: whose videos are asked.
        wait: for the seconds between two tries of an address.
        clock: tells seconds.
    """

    def __init__(
        self,
        library: Library,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.library, self._wait, self._clock = library, wait, clock
        # Of a file or an address that failed: how long it rests, and until when.
        self._rests: dict[str, tuple[float, float]] = {}

    @cached_property
    def _db(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.library.path / FILE, timeout=60)
        db.executescript('PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;' + SCHEMA)
        return db

    def add(
        self,
        sentence: str,
        threshold: float,
        file: str | Path | None = None,
        webhook: str | None = None,
        old: bool = False,
    ) -> Alert:
        """A new one, for the videos that are added from now on.

        Args:
            threshold: least score of a moment: with a trained model its calibrated probability,
                else the cosine of the sentence and a window of frames, as ``search`` shows them.
            file: to which a line of JSON is added for each moment.
            webhook: address that each moment is posted to as JSON.
            old: ask the videos too that are there already.

        Raises:
            ValueError: the sentence is empty, or the address is not of http or https.
            FileNotFoundError: the folder of the file is missing.
        """
        if not sentence.strip():
            raise ValueError('the sentence is empty; say what you look for')
        if webhook is not None:
            check_address(webhook)
        place = None if file is None else str(Path(file).resolve())
        if place is not None and not Path(place).parent.is_dir():
            raise FileNotFoundError(f'there is no folder {Path(place).parent}; make it first')
        with self._db:
            number = self._db.execute(
                'INSERT INTO alerts (sentence, threshold, file, webhook) VALUES (?, ?, ?, ?)',
                (sentence, threshold, place, webhook),
            ).lastrowid
            assert number is not None
            if not old:
                rows = self.library.catalogue.videos('indexed')
                self._mark(number, [row.key for row in rows])
        return Alert(number, sentence, threshold, place, webhook)

    def all(self) -> list[Alert]:
        """In the order in which they were added."""
        rows = self._db.execute('SELECT id, sentence, threshold, file, webhook FROM alerts')
        return sorted(Alert(*row) for row in rows)

    def remove(self, number: int) -> None:
        """Ask no more.

        Raises:
            ValueError: there is no such alert.
        """
        with self._db:
            if not self._db.execute('DELETE FROM alerts WHERE id = ?', (number,)).rowcount:
                known = ', '.join(str(alert.id) for alert in self.all()) or 'none'
                raise ValueError(f'there is no alert {number}; there are: {known}')

    def run(self, tell: Callable[[Event], None]) -> list[Event]:
        """Ask what was not asked yet.

        Args:
            tell: called with each moment whose alert has neither file nor webhook.

        Returns:
            All moments that passed.
        """
        events: list[Event] = []
        if not (self.library.path / FILE).is_file():  # there never was any
            return events
        videos = self.library.catalogue.videos('indexed')
        for alert in self.all():
            asked = {
                k for (k,) in self._db.execute('SELECT key FROM asked WHERE alert = ?', alert[:1])
            }
            for row in videos:
                if row.key in asked or self._rests_now(alert):
                    continue
                found = self._ask(alert, row)
                if self._send(alert, found, tell):
                    with self._db:
                        self._mark(alert.id, [row.key])
                    events += found
        return events

    def _ask(self, alert: Alert, row: VideoRow) -> list[Event]:
        """The best moment of a video, if it is good enough."""
        return [
            Event(
                alert.id,
                alert.sentence,
                row.path,
                *(round(v, 3) for v in (m.start, m.end, m.score)),
            )
            for m in self.library.ask_kept(row.key, alert.sentence)
            if m.score >= alert.threshold
        ]

    def _send(self, alert: Alert, events: list[Event], tell: Callable[[Event], None]) -> bool:
        """Whether all were told."""
        rest, _ = self._rests.get(_place(alert), (0.0, 0.0))
        try:
            for event in events:
                if alert.webhook is not None:
                    post(alert.webhook, asdict(event), () if rest else PAUSES, self._wait)
                if alert.file is not None:
                    with open(alert.file, 'a', encoding='utf-8') as file:
                        file.write(json.dumps(asdict(event), ensure_ascii=False) + '\n')
                if alert.file is None and alert.webhook is None:
                    tell(event)
        except OSError as error:
            rest = min(2 * rest or REST, LONGEST_REST)
            self._rests[_place(alert)] = rest, self._clock() + rest
            MMLogger.get_current_instance().warning(
                f'alert {alert.id} could not be told, the next run tries again: {error}'
            )
            return False
        if events:
            self._rests.pop(_place(alert), None)
        return True

    def _rests_now(self, alert: Alert) -> bool:
        _, until = self._rests.get(_place(alert), (0.0, float('-inf')))
        return self._clock() < until

    def _mark(self, number: int, keys: list[str]) -> None:
        """Of an alert that may have been removed meanwhile."""
        self._db.executemany(
            'INSERT OR IGNORE INTO asked SELECT id, ? FROM alerts WHERE id = ?',
            [(key, number) for key in keys],
        )


def _place(alert: Alert) -> str:
    """What may fail: its address or file; nothing where it is told in a line."""
    return alert.webhook or alert.file or ''
