"""Standing queries: sentences that every video is searched for when it is added."""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from mmengine.logging import MMLogger

from demul_mm.app.catalogue import VideoRow
from demul_mm.app.database import Database, add_tables, connect
from demul_mm.app.library import Library
from demul_mm.app.webhook import PAUSES, RefusedError, check_address, post

FILE = 'alerts.sqlite'
SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY, sentence TEXT NOT NULL, threshold REAL NOT NULL, file TEXT,
    webhook TEXT);
CREATE TABLE IF NOT EXISTS asked (
    alert INTEGER NOT NULL REFERENCES alerts ON DELETE CASCADE, key TEXT NOT NULL,
    PRIMARY KEY (alert, key)) WITHOUT ROWID;
"""
# Seconds before a file or an address that failed is tried again: at first, and at most.
REST, LONGEST_REST = 60.0, 600.0
# Seconds between two looks whether an address has answered.
GLANCE = 0.1


class Alert(NamedTuple):
    """A sentence, and the file or webhook to which moments of new videos that fit it go."""

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


class Delivery(NamedTuple):
    """What an alert found in one video, to be told."""

    alert: Alert
    key: str
    events: list[Event]


class Sender(Thread):
    """Posts deliveries to one address, in order, until it fails.

    A thread that ends with the process: an address that hangs holds nobody up.

    Attributes:
        taken: those that arrived.
        refused: those that the address would refuse again.
        refusal: why it refused the first of them.
        error: why the others did not arrive.
    """

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        pauses: tuple[float, ...],
        wait: Callable[[float], None],
    ) -> None:
        super().__init__(daemon=True)
        self.deliveries, self._pauses, self._wait = deliveries, pauses, wait
        self.taken: list[Delivery] = []
        self.refused: list[Delivery] = []
        self.refusal: OSError | None = None
        self.error: OSError | None = None

    def run(self) -> None:
        """Post them."""
        for delivery in self.deliveries:
            try:
                for event in delivery.events:
                    post(delivery.alert.webhook or '', asdict(event), self._pauses, self._wait)
                self.taken.append(delivery)
            except RefusedError as error:
                self.refused.append(delivery)
                self.refusal = self.refusal or error
            except OSError as error:
                self.error = error
                return


class Alerts:
    """The standing queries of a library.

    Each searches a video once. What a killed run did not report is reported by the next, at worst
    twice.

    A file or address that fails is retried with growing pauses (60 to 600 s); other alerts go on.
    A moment that an address rejects is retried later and does not hold up the others.

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
        # Of a file or an address that failed, or of what an alert found in a video and its address
        # refused: the pause before the next try, and when that ends.
        self._backoff: dict[str | tuple[Alert, str], tuple[float, float]] = {}
        self._senders: dict[str, Sender] = {}

    @cached_property
    def _db(self) -> Database:
        db = connect(self.library.path / FILE)
        mode = 'DELETE' if self.library.served else 'WAL'  # as the catalogue
        with suppress(OSError):  # another process has it open: at a later opening
            db.execute(f'PRAGMA journal_mode = {mode}')
        add_tables(db, SCHEMA)
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
            ValueError: the sentence is empty, the threshold is no finite number, the address is not
                of http or https, or the file is a folder.
            FileNotFoundError: the folder of the file is missing.
        """
        if not sentence.strip():
            raise ValueError('the sentence is empty; say what you look for')
        if not math.isfinite(threshold):
            raise ValueError(f'the threshold is {threshold}; give a number, which scores may reach')
        if webhook is not None:
            check_address(webhook)
        place = None if file is None else str(Path(file).resolve())
        if place is not None and Path(place).is_dir():
            raise ValueError(f'{place} is a folder; give a file, to which lines are added')
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
        if not (self.library.path / FILE).is_file():  # there never was any
            return []
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

    def run(
        self,
        tell: Callable[[Event], None],
        patience: float | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> list[Event]:
        """Ask what was not asked yet.

        Args:
            tell: called with each moment whose alert has neither file nor webhook.
            patience: seconds in which addresses may answer; what they take later is in what the
                next run returns. None: all that they need.
            check: called now and then; what it raises ends the run.

        Returns:
            All moments that were told.
        """
        events: list[Event] = []
        if not (self.library.path / FILE).is_file():  # there never was any
            return events
        videos = self.library.catalogue.videos('indexed')
        deliveries: dict[str, list[Delivery]] = {}
        for alert in self.all():
            asked = {
                k for (k,) in self._db.execute('SELECT key FROM asked WHERE alert = ?', alert[:1])
            }
            for row in videos:
                if row.key in asked or self._is_pending(alert, row.key):
                    continue
                check()
                delivery = Delivery(alert, row.key, self._ask(alert, row))
                if delivery.events and alert.webhook is not None:
                    if self._can_write(delivery):
                        deliveries.setdefault(alert.webhook, []).append(delivery)
                else:
                    events += self._deliver(delivery, tell)
        for address, batch in deliveries.items():
            failed = address in self._backoff
            sender = Sender(batch, () if failed else PAUSES, self._wait)
            sender.start()
            self._senders[address] = sender
        return events + self._answered(tell, patience, check)

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

    def _answered(
        self, tell: Callable[[Event], None], patience: float | None, check: Callable[[], None]
    ) -> list[Event]:
        """What addresses have taken."""
        events: list[Event] = []
        until = float('inf') if patience is None else time.monotonic() + patience
        for address, sender in list(self._senders.items()):
            while sender.is_alive() and time.monotonic() < until:
                check()
                sender.join(GLANCE)
            if sender.is_alive():
                continue
            del self._senders[address]
            for delivery in sender.taken:
                events += self._deliver(delivery, tell)
            if sender.refusal is not None:
                refused = [(delivery.alert, delivery.key) for delivery in sender.refused]
                self._back_off(refused, sender.refused, sender.refusal)
            if sender.error is not None:
                done = len(sender.taken) + len(sender.refused)
                self._back_off([address], sender.deliveries[done:], sender.error)
        return events

    def _deliver(self, delivery: Delivery, tell: Callable[[Event], None]) -> list[Event]:
        """Write or tell the moments, unless an address has taken them, and note that it is done.

        Returns:
            The moments; none where the file failed.
        """
        alert = delivery.alert
        try:
            for event in delivery.events:
                if alert.file is not None:
                    with open(alert.file, 'a', encoding='utf-8') as file:
                        file.write(json.dumps(asdict(event), ensure_ascii=False) + '\n')
                elif alert.webhook is None:
                    tell(event)
        except OSError as error:
            self._back_off([alert.file or ''], [delivery], error)
            return []
        with self._db:
            self._mark(alert.id, [delivery.key])
        if delivery.events:
            for one in _which(alert, delivery.key):
                self._backoff.pop(one, None)
        return delivery.events

    def _can_write(self, delivery: Delivery) -> bool:
        """Whether its file takes a line; if not, its address would be told of it each time."""
        file = delivery.alert.file
        try:
            if file is not None and os.path.exists(file):
                open(file, 'a').close()
            elif file is not None and not os.access(Path(file).parent, os.W_OK):
                raise OSError(f'{Path(file).parent} cannot be written to')
        except OSError as error:
            self._back_off([file or ''], [delivery], error)
            return False
        return True

    def _back_off(
        self,
        which: Sequence[str | tuple[Alert, str]],
        deliveries: Sequence[Delivery],
        error: OSError,
    ) -> None:
        """Note when to try again what failed, and warn once of the deliveries that wait."""
        for one in which:
            before, _ = self._backoff.get(one, (0.0, 0.0))
            rest = min(2 * before or REST, LONGEST_REST)
            self._backoff[one] = rest, self._clock() + rest
        alert, _, events = deliveries[0]
        more = f' and {len(deliveries) - 1} more' if len(deliveries) > 1 else ''
        MMLogger.get_current_instance().warning(
            f'alert {alert.id} could not yet be told of {Path(events[0].video).name}{more}: {error}'
        )

    def _is_pending(self, alert: Alert, key: str) -> bool:
        """Whether it waits for another try, or is being sent."""
        untils = [self._backoff[one][1] for one in _which(alert, key) if one in self._backoff]
        sent = alert.webhook in self._senders
        return sent or self._clock() < max(untils, default=float('-inf'))

    def _mark(self, number: int, keys: list[str]) -> None:
        """Of an alert that may have been removed meanwhile."""
        self._db.executemany(
            'INSERT OR IGNORE INTO asked SELECT id, ? FROM alerts WHERE id = ?',
            [(key, number) for key in keys],
        )


def _which(alert: Alert, key: str) -> list[str | tuple[Alert, str]]:
    """What may rest: its address, its file (``''`` without both), what it found in a video."""
    places = [place for place in (alert.webhook, alert.file) if place is not None]
    return [*(places or ['']), (alert, key)]
