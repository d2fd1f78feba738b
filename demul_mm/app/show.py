"""What the command prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from demul_mm.app.alerts import Event
    from demul_mm.app.library import Library, Report
    from demul_mm.app.rank_fusion import Hit


def set_logging(quiet: bool, verbose: bool) -> None:
    """How much is said on the way: warnings always."""
    import os

    from mmengine.logging import MMLogger

    if not verbose:
        os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
        if quiet:
            os.environ.setdefault('HF_HUB_DISABLE_PROGRESS_BARS', '1')
    logger = MMLogger.get_current_instance()
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)


@contextmanager
def progress(hidden: bool) -> Iterator[Callable[[str, float, int, int], None]]:
    """A bar with the time that is left, on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn('{task.description}'), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        disable=hidden or not console.is_terminal,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file must not go to the console
    ) as bar:
        task = bar.add_task('', total=1)

        def tell(path: str, share: float, done: int, total: int) -> None:
            name = f'{done + 1}/{total} {Path(path).name}'
            bar.update(task, description=name, completed=(done + share) / total)

        yield tell


def report_as_json(report: Report, alerts: Sequence[Event], one_line: bool) -> None:
    """What an update did, and what alerts found in it; one line where more may follow."""
    content = report._asdict()
    content['broken'] = [dict(path=path, error=error) for path, error in report.broken]
    content['alerts'] = [asdict(one) for one in alerts]
    _json(content, None if one_line else 1)


def report(report: Report, library: Library, quiet: bool) -> None:
    """What an update did; broken files come last."""
    if not quiet:
        print(
            f'{report.added} added, {report.kept} as before, {report.forgotten} forgotten: '
            f'{len(library.catalogue.videos("indexed"))} videos in {library.path}',
            flush=True,
        )
    if report.broken:
        print(f'{len(report.broken)} cannot be read:', file=sys.stderr)
    for path, error in report.broken:
        print(f'  {path}: {error.removeprefix(path + ": ")}', file=sys.stderr)


def hits(found: Sequence[Hit], sentence: str, as_json: bool) -> None:
    """Moments, best first."""
    if as_json:
        rows = [dict(rank=rank, video=hit.path, **hit.plain()) for rank, hit in enumerate(found, 1)]
        _json(dict(query=sentence, moments=rows))
        return
    if not found:
        print('nothing was found')
        return
    table = Table(box=None, pad_edge=False)
    table.add_column('', justify='right')
    table.add_column('video', overflow='fold')
    table.add_column('from', justify='right')
    table.add_column('to', justify='right')
    table.add_column('found by')
    for rank, hit in enumerate(found, 1):
        why = '; '.join(hit.why)
        table.add_row(str(rank), Path(hit.path).name, clock(hit.start), clock(hit.end), why)
    _console().print(table)


def events(found: Sequence[Event], as_json: bool) -> None:
    """Moments that fit alerts, for programs; people have seen each as it was found."""
    if as_json:
        _json([asdict(one) for one in found])


def event(found: Event, as_json: bool = False) -> None:
    """A moment of a new video that fits an alert, in one line."""
    if as_json:
        _json(asdict(found), None)
        return
    span = f'{clock(found.start)} to {clock(found.end)}'
    name = Path(found.video).name
    print(f'alert {found.alert} "{found.sentence}": {name} {span} ({found.score})', flush=True)


def address(url: str, as_json: bool) -> None:
    """Where a server is to be opened, in one line."""
    if as_json:
        _json(dict(open=url), None)
    else:
        print(f'open {url}', flush=True)


def facts(found: Mapping[str, Any], as_json: bool, nothing: str = 'none') -> None:
    """Names and values, and what stands for None."""
    if as_json:
        _json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        if isinstance(value, Mapping):
            rows = (f'{key}: {str(item).removeprefix(f"{key}: ")}' for key, item in value.items())
            value = '\n'.join(rows) or 'none'
        elif isinstance(value, list):
            value = '\n'.join(map(str, value)) or 'none'
        lines = (nothing if value is None else str(value)).splitlines()
        for number, line in enumerate(lines):
            print(f'{name.replace("_", " ") if not number else "":{width}}  {line}')


def table(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Rows with the same names."""
    if as_json:
        _json(rows)
        return
    if not rows:
        print('none')
        return
    shown = Table(box=None, pad_edge=False)
    for name in rows[0]:
        shown.add_column(name, no_wrap=True)
    for row in rows:
        shown.add_row(*('' if value is None else str(value) for value in row.values()))
    _console().print(shown)


def _console() -> Console:
    """Lines that another program reads are not broken."""
    width = None if sys.stdout.isatty() else 1000
    return Console(width=width, highlight=False, markup=False)


def clock(seconds: float) -> str:
    """``1:02:03.4`` or ``2:03.4``."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f'{hours}:{minutes:02d}' if hours else f'{minutes}'
    return f'{head}:{rest // 10:02d}.{rest % 10}'


def _json(content: Any, indent: int | None = 1) -> None:
    # What another console cannot show would be escaped as Python does, not JSON.
    plain = (sys.stdout.encoding or '').lower().replace('-', '') != 'utf8'
    print(json.dumps(content, indent=indent, ensure_ascii=plain), flush=True)
