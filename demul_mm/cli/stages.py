"""Stages that run one after the other, with a progress line that estimates the time left."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import runpy
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from demul_mm.files import read_text, write_atomically

Counter = Callable[[str], float | None]
"""What share of its stage is over, as a line of the stage's output tells, if it does."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

QUIET_SECONDS = 10
"""Between two lines where there is no terminal."""


def bar(label: str, begin: float = 0.0, end: float = 1.0) -> Counter:
    """Reads a bar of tqdm, which spans the part from ``begin`` to ``end`` of its stage."""
    return _reader(
        rf'{label}: .*\| (\d+)/(\d+) \[', lambda done, total: begin + (end - begin) * done / total
    )


def epochs(count: int) -> Counter:
    """Reads the log of a training of so many epochs."""
    return _reader(
        r'Epoch\(train\) +\[(\d+)\]\[ *(\d+)/(\d+)\]',
        lambda epoch, step, steps: (epoch - 1 + step / steps) / count,
    )


def batches() -> Counter:
    """Reads the log of a test."""
    return _reader(r'Epoch\(test\) +\[ *(\d+)/(\d+)\]', lambda step, steps: step / steps)


def _reader(pattern: str, share: Callable[..., float]) -> Counter:
    """Reads lines of a form, whose numbers tell the share."""
    form = re.compile(pattern)

    def read(line: str) -> float | None:
        found = form.search(line)
        return found and share(*map(int, found.groups()))

    return read


@dataclass(frozen=True)
class Stage:
    """A command or function to run.

    Attributes:
        name: what its log, and its row in the record, are called.
        title: what the reader is told.
        work: the words of a command, which this Python runs, or a function, whose result is shown.
            A word may be a function too, where it is known only once the stage begins.
        seconds: how long it may take; the estimates are corrected by what was seen.
        counters: read the output of a command.
        inside: whether the command, a script and its arguments, runs in this process: what several
            of them import is then imported once.
    """

    name: str
    title: str
    work: Sequence[object] | Callable[[], object]
    seconds: float
    counters: tuple[Counter, ...] = ()
    inside: bool = False


@dataclass
class Clock:
    """Estimates how much of a run of stages is done, and how long the rest takes.

    Attributes:
        total: estimated seconds of all stages.
        before: estimated seconds of the stages that are finished.
        stage: estimated seconds of the stage that runs.
        share: how much of that is done, in [0, 1]; None if it does not report it.
        since: when the run began.
        stage_since: when the stage began.
    """

    total: float
    before: float = 0.0
    stage: float = 0.0
    share: float | None = None
    since: float = field(default_factory=time.perf_counter)
    stage_since: float = field(default_factory=time.perf_counter)

    def start(self, seconds: float, tells: bool) -> None:
        """A stage begins; ``tells`` is whether it reports its progress."""
        self.before += self.stage
        self.stage, self.share = seconds, 0.0 if tells else None
        self.stage_since = time.perf_counter()

    def read(self) -> tuple[float, float]:
        """How much of the run is done, in [0, 1], and the seconds that are left."""
        now = time.perf_counter()
        waited = now - self.stage_since
        share = waited / (waited + self.stage + 1e-9) if self.share is None else self.share
        over = self.before + share * self.stage
        # The estimate is trusted as if it had held for 20 s before the beginning.
        pace = (now - self.since + 20) / (over + 20)
        return over / self.total if self.total else 1.0, pace * (self.total - over)


class Stages:
    """Runs the stages that no earlier run has finished, and records those that are.

    On a terminal the line is rewritten every second, elsewhere it is printed now and then.

    Args:
        folder: for the record (``stages.json``) and the logs (``logs/``).
        root: where commands run.
        arguments: what decides the results of the stages.

    Raises:
        ValueError: the folder holds the results of other arguments.
    """

    def __init__(self, folder: Path, root: Path, arguments: dict) -> None:
        self.folder, self.root = folder, root
        self.record = folder / 'stages.json'
        (folder / 'logs').mkdir(parents=True, exist_ok=True)
        self.seconds: dict[str, float] = {}
        if self.record.exists():
            found = json.loads(read_text(self.record))
            if found['arguments'] != arguments:
                raise ValueError(
                    f'{folder} holds the results of {found["arguments"]}, now {arguments}: give '
                    'the same arguments to go on, or another folder'
                )
            self.seconds = found['seconds']
        self.arguments = arguments
        self.out = sys.stdout

    def run(self, stages: Sequence[Stage]) -> None:
        """Run what is left; the record is written after each stage.

        Raises:
            ChildProcessError: a command failed.
            KeyboardInterrupt: the user stopped it; what is finished is kept.
        """
        clock = Clock(sum(s.seconds for s in stages if s.name not in self.seconds))
        for number, stage in enumerate(stages, 1):
            head = f'[{number}/{len(stages)}]'
            if stage.name in self.seconds:
                self._say(f'{head} {stage.title}: done before')
                continue
            self._say(f'{head} {stage.title}')
            clock.start(stage.seconds, tells=bool(stage.counters))
            log = self.folder / 'logs' / f'{stage.name}.log'
            with open(log, 'w', encoding='utf-8') as file, self._ticking(head, clock):
                said = self._work(stage, clock, file)
            took = time.perf_counter() - clock.stage_since
            self.seconds[stage.name] = took
            content = {'arguments': self.arguments, 'seconds': self.seconds}
            write_atomically(self.record, json.dumps(content, indent=1))
            self._say('\n'.join([*(f'    {line}' for line in said), f'    {took:.0f} s']))

    def _work(self, stage: Stage, clock: Clock, log: IO[str]) -> list[str]:
        """Do it; returns the lines that a function has to say."""
        try:
            if callable(stage.work):
                with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                    return str(stage.work() or '').splitlines()
            words = [str(word() if callable(word) else word) for word in stage.work]
            self._say(f'    python {shlex.join(words)}')
            output = _Output(log, stage.counters, clock)
            code = self._script(words, output) if stage.inside else self._command(words, output)
        except KeyboardInterrupt:
            self._say('stopped; the same command goes on from here')
            raise
        if code:
            log.flush()
            tail = Path(log.name).read_text(encoding='utf-8').splitlines()[-20:]
            self._say('\n'.join(tail))
            raise ChildProcessError(f'"{stage.title}" failed (exit code {code}): see {log.name}')
        return []

    def _command(self, words: list[str], output: _Output) -> int:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding='utf-8',
            errors='replace',  # and the carriage returns of bars end lines too
        )
        try:
            for line in process.stdout or ():
                output.write(line)
            return process.wait()
        except BaseException:
            _end(process)
            raise

    def _script(self, words: list[str], output: _Output) -> int:
        before = sys.argv, os.getcwd()
        sys.argv = words
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                runpy.run_path(words[0], run_name='__main__')
        except SystemExit as end:
            if end.code == INTERRUPTED:
                raise KeyboardInterrupt from None
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.argv = before[0]
            os.chdir(before[1])
        return 0

    @contextlib.contextmanager
    def _ticking(self, head: str, clock: Clock) -> Iterator[None]:
        over = threading.Event()
        live = self.out.isatty()

        def tick() -> None:
            while not over.wait(1 if live else QUIET_SECONDS):
                share, left = clock.read()
                line = f'{head} {100 * share:3.0f} % of all, {_minutes(left)} left'
                self.out.write(f'\r{line}\x1b[K' if live else f'    {line}\n')
                self.out.flush()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _say(self, text: str) -> None:
        clear = '\r\x1b[K' if self.out.isatty() else ''
        self.out.write(f'{clear}{text}\n')
        self.out.flush()


class _Output(io.TextIOBase):
    """The output of a command: written to the log, and read for its progress.

    Args:
        log: open file.
        counters: read its lines; a bar's end with a carriage return.
        clock: is told the share that is over.
    """

    def __init__(self, log: IO[str], counters: Sequence[Counter], clock: Clock) -> None:
        self.log, self.counters, self.clock = log, counters, clock

    def write(self, text: str) -> int:
        """Keep it."""
        for line in text.splitlines():
            shares = [share for read in self.counters if (share := read(line)) is not None]
            if shares:
                self.clock.share = max(self.clock.share or 0.0, *shares)
        return self.log.write(text)

    def flush(self) -> None:
        """Hand it on."""
        self.log.flush()


def _end(process: subprocess.Popen) -> None:
    """Wait for a command that the terminal interrupted as well; do not wait for ever."""
    try:
        process.wait(timeout=20)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.terminate()
        process.wait()


def _minutes(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f'{whole // 60}:{whole % 60:02d}'
