"""A report in one HTML file: metrics beside their floors, time lines, key frames, searches.

The file needs nothing else: style, drawings (SVG) and pictures (base64) are inside it.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, Template

from demul_mm.evaluation.tables import split_floors
from demul_mm.files import write_atomically
from demul_mm.video.frames import KeyFrame, encode_jpeg

ROW_NAMES = {
    'model': 'Model',
    'floor/whole_video': 'Floor: the whole video',
    'floor/constant_window': 'Floor: best constant window',
    'floor/frequent_videos': 'Floor: the most asked-about videos',
    'floor/prior': 'Floor: most annotated segments',
    'oracle': 'Oracle: best of the predictions',
}
MAX_COLUMNS = 8


@dataclass
class ReportMoment:
    """A predicted moment: seconds, score, and what each term of the joint score gave."""

    start: float
    end: float
    score: float
    terms: dict[str, float] = field(default_factory=dict)


@dataclass
class ReportQuery:
    """A sentence with its true moments ``[[start, end], ...]`` and predictions, best first."""

    text: str
    truth: Sequence[Sequence[float]]
    predicted: Sequence[ReportMoment]
    tags: Sequence[str] = ()


@dataclass
class ReportVideo:
    """A video with its queries; the key frames are taken at even times."""

    video_id: str
    duration: float
    queries: Sequence[ReportQuery]
    frames: Sequence[KeyFrame] = ()


@dataclass
class ReportHit:
    """A moment that a search found; the verdict is 'right', 'right video', or empty."""

    video_id: str
    duration: float
    start: float
    end: float
    score: float
    frame: KeyFrame | None = None
    verdict: str = ''


@dataclass
class ReportSearch:
    """A search over all videos: the sentence, what was found, and a remark (such as the time)."""

    query: str
    hits: Sequence[ReportHit]
    remark: str = ''


def write_report(
    path: str | os.PathLike,
    title: str,
    metrics: Mapping[str, float],
    videos: Sequence[ReportVideo],
    searches: Sequence[ReportSearch] = (),
    headline: Sequence[str] = ('R@1,IoU=0.5', 'R@1,IoU=0.7', 'R@5,IoU=0.5', 'mIoU'),
    meta: Mapping[str, Any] | None = None,
    lead: str = '',
    notice: str = '',
) -> None:
    """Write the report, atomically.

    Args:
        path: the ``.html`` file.
        metrics: as a metric reports them, in percent; keys ``floor/<name>/<metric>`` and
            ``oracle/<metric>`` become rows beside the model's.
        headline: metrics shown large, those of them that there are.
        meta: facts shown under the heading, such as the data set and the checkpoint.
        lead: a paragraph under the heading.
        notice: a warning, such as that the features are simulated.
    """
    rows = split_floors(metrics)
    grid, upright = _grid(rows)
    page = _template().render(
        title=title,
        rows=rows,
        grid=grid,
        upright=upright,
        videos=videos,
        searches=searches,
        headline=headline,
        meta=meta or {},
        lead=lead,
        notice=notice,
    )
    write_atomically(path, page)


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name('templates')), autoescape=True
    )
    environment.filters['jpeg'] = lambda image: base64.b64encode(encode_jpeg(image)).decode()
    environment.globals.update(
        best_floor=best_floor, best_iou=_best_iou, ticks=_ticks, clock=_clock
    )
    return environment.get_template('report.html')


def best_floor(rows: Mapping[str, Mapping[str, float]], key: str) -> float | None:
    """The best that any language-blind floor scores, or None where none was measured."""
    values = [row[key] for name, row in rows.items() if name.startswith('floor/') and key in row]
    return max(values, default=None)


def _grid(rows: Mapping[str, Mapping[str, float]]) -> tuple[list[list[str]], bool]:
    """The table's cells, and whether metrics stand below each other: where they are many."""
    keys = list(rows['model'])
    grid = [['', *keys]]
    for name, row in rows.items():
        cells = [f'{row[key]:.1f}' if key in row else '–' for key in keys]
        grid.append([ROW_NAMES.get(name, name), *cells])
    upright = len(keys) > MAX_COLUMNS
    return [list(column) for column in zip(*grid)] if upright else grid, upright


def _ticks(duration: float) -> list[float]:
    """Round numbers of seconds, ten or fewer in a video of up to three hours."""
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
    step = next((s for s in steps if duration / s <= 10), 3600)
    return np.arange(0, duration, step).tolist()


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f'{whole} s' if whole < 100 else f'{whole // 60}:{whole % 60:02d}'


def _best_iou(moment: ReportMoment, truth: Sequence[Sequence[float]]) -> float:
    return max(overlap((moment.start, moment.end), span) for span in truth)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two spans."""
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / hull if hull > 0 else 0.0
