"""Standing queries: sentences that are asked of every video that is added."""

import json
import math
import sqlite3
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
# Seconds for which a file or an address that failed is left alone: at first, and at most.
REST, LONGEST_REST = 60.0, 600.0
# Seconds between two looks whether an address has answered.
GLANCE = 0.1


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


class Letter(NamedTuple):
    """What an alert found in one video."""

    alert: Alert
    key: str
    events: list[Event]


class Posting(Thread):
    """Letters on their way to one address, in order, until it fails.

    A thread that ends with the process: an address that hangs holds nobody up.

    Attributes:
        taken: the letters that arrived.
        refused: those that the address would refuse again.
        refusal: why it refused the first of them.
        error: why the others did not arrive.
    """

    def __init__(
        self, letters: Sequence[Letter], pauses: tuple[float, ...], wait: Callable[[float], None]
    ) -> None:
        super().__init__(daemon=True)
        self.letters, self._pauses, self._wait = letters, pauses, wait
        self.taken: list[Letter] = []
        self.refused: list[Letter] = []
        self.refusal: OSError | None = None
        self.error: OSError | None = None

    def run(self) -> None:
        """Post them."""
        for letter in self.letters:
            try:
                for event in letter.events:
                    post(letter.alert.webhook or '', asdict(event), self._pauses, self._wait)
                self.taken.append(letter)
            except RefusedError as error:
                self.refused.append(letter)
                self.refusal = self.refusal or error
            except OSError as error:
                self.error = error
                return


class Alerts:
    """The standing queries of a library.

    Each asks a video once: whatever a killed run did not tell is told by the next, at worst twice.

    A file or an address that takes nothing is left alone for a while, longer each time; meanwhile,
    and while an address has not answered, other alerts go on. So is a moment that an address
    refuses, while it is posted others.

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
        # refused: how long it rests, and until when.
        self._rests: dict[str | tuple[Alert, str], tuple[float, float]] = {}
        self._postings: dict[str, Posting] = {}

    @cached_property
    def _db(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.library.path / FILE, timeout=60)
        mode = 'DELETE' if self.library.served else 'WAL'  # as the catalogue
        with suppress(sqlite3.OperationalError):  # another process has it open: at a later opening
            db.execute(f'PRAGMA journal_mode = {mode}')
        db.executescript('PRAGMA foreign_keys = ON;' + SCHEMA)
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
            ValueError: the sentence is empty, the threshold is no finite number, or the address is
                not of http or https.
            FileNotFoundError: the folder of the file is missing.
        """
        if not sentence.strip():
            raise ValueError('the sentence is empty; say what you look for')
        if not math.isfinite(threshold):
            raise ValueError(f'the threshold is {threshold}; give a number, which scores may reach')
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
        letters: dict[str, list[Letter]] = {}
        for alert in self.all():
            asked = {
                k for (k,) in self._db.execute('SELECT key FROM asked WHERE alert = ?', alert[:1])
            }
            for row in videos:
                if row.key in asked or self._is_away(alert, row.key):
                    continue
                check()
                letter = Letter(alert, row.key, self._ask(alert, row))
                if letter.events and alert.webhook is not None:
                    letters.setdefault(alert.webhook, []).append(letter)
                else:
                    events += self._deliver(letter, tell)
        for address, batch in letters.items():
            rested = address in self._rests
            posting = Posting(batch, () if rested else PAUSES, self._wait)
            posting.start()
            self._postings[address] = posting
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
        for address, posting in list(self._postings.items()):
            while posting.is_alive() and time.monotonic() < until:
                check()
                posting.join(GLANCE)
            if posting.is_alive():
                continue
            del self._postings[address]
            for letter in posting.taken:
                events += self._deliver(letter, tell)
            if posting.refusal is not None:
                refused = [(letter.alert, letter.key) for letter in posting.refused]
                self._let_rest(refused, posting.refused, posting.refusal)
            if posting.error is not None:
                done = len(posting.taken) + len(posting.refused)
                self._let_rest([address], posting.letters[done:], posting.error)
        return events

    def _deliver(self, letter: Letter, tell: Callable[[Event], None]) -> list[Event]:
        """The moments, where they are told and so noted; its address has taken them before."""
        alert = letter.alert
        try:
            for event in letter.events:
                if alert.file is not None:
                    with open(alert.file, 'a', encoding='utf-8') as file:
                        file.write(json.dumps(asdict(event), ensure_ascii=False) + '\n')
                elif alert.webhook is None:
                    tell(event)
        except OSError as error:
            self._let_rest([_place(alert)], [letter], error)
            return []
        with self._db:
            self._mark(alert.id, [letter.key])
        if letter.events:
            self._rests.pop(_place(alert), None)
            self._rests.pop((alert, letter.key), None)
        return letter.events

    def _let_rest(
        self,
        which: Sequence[str | tuple[Alert, str]],
        letters: Sequence[Letter],
        error: OSError,
    ) -> None:
        """Leave alone what failed, and say once which letters are to be told later."""
        for one in which:
            before, _ = self._rests.get(one, (0.0, 0.0))
            rest = min(2 * before or REST, LONGEST_REST)
            self._rests[one] = rest, self._clock() + rest
        alert, _, events = letters[0]
        more = f' and {len(letters) - 1} more' if len(letters) > 1 else ''
        MMLogger.get_current_instance().warning(
            f'alert {alert.id} could not yet be told of {Path(events[0].video).name}{more}: {error}'
        )

    def _is_away(self, alert: Alert, key: str) -> bool:
        """Whether its file or address, or what it found in the video, rests or is on its way."""
        place = _place(alert)
        untils = [self._rests[one][1] for one in (place, (alert, key)) if one in self._rests]
        return place in self._postings or self._clock() < max(untils, default=float('-inf'))

    def _mark(self, number: int, keys: list[str]) -> None:
        """Of an alert that may have been removed meanwhile."""
        self._db.executemany(
            'INSERT OR IGNORE INTO asked SELECT id, ? FROM alerts WHERE id = ?',
            [(key, number) for key in keys],
        )


def _place(alert: Alert) -> str:
    """What may fail: its address or file; nothing where it is told in a line."""
    return alert.webhook or alert.file or ''
