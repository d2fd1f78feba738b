"""A report in one HTML file: metrics beside their floors, time lines, key frames, searches.

The file needs nothing else: style, drawings (SVG) and pictures (base64) are inside it.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from demul_mm.evaluation.tables import split_floors
from demul_mm.files import write_atomically
from demul_mm.visualization.frames import KeyFrame, encode_jpeg
from demul_mm.visualization.report_style import CSS

ROW_NAMES = {
    'model': 'Model',
    'floor/whole_video': 'Floor: the whole video',
    'floor/constant_window': 'Floor: best constant window',
    'floor/frequent_videos': 'Floor: the most asked-about videos',
    'floor/prior': 'Floor: most annotated segments',
    'oracle': 'Oracle: best of the predictions',
}
LANE, GAP = 11, 4  # pixels
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
        title: its heading.
        metrics: as a metric reports them, in percent; keys ``floor/<name>/<metric>`` and
            ``oracle/<metric>`` become rows beside the model's.
        videos: the videos to show.
        searches: the searches to show.
        headline: metrics shown large, those of them that there are.
        meta: facts shown under the heading, such as the data set and the checkpoint.
        lead: a paragraph under the heading.
        notice: a warning, such as that the features are simulated.
    """
    rows = split_floors(metrics)
    parts = [f'<header><h1>{escape(title)}</h1>']
    if lead:
        parts.append(f'<p class="lead">{escape(lead)}</p>')
    facts = [f'<span>{escape(str(k))}: {escape(str(v))}</span>' for k, v in (meta or {}).items()]
    parts.append(f'<div class="meta">{"".join(facts)}</div>')
    if notice:
        parts.append(f'<div class="notice">{escape(notice)}</div>')
    parts.append('</header>')
    if metrics:
        parts += [_metrics(rows, headline)]
    if videos:
        parts += ['<section><h2>One video, one sentence</h2>', _legend(), *map(_video, videos)]
        parts += ['</section>']
    if searches:
        parts += ['<section><h2>Searching all videos</h2>', *map(_search, searches), '</section>']
    body = '\n'.join(parts)
    write_atomically(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n'
        f'<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n',
    )


def best_floor(rows: Mapping[str, Mapping[str, float]], key: str) -> float | None:
    """The best that any language-blind floor scores, or None where none was measured."""
    values = [row[key] for name, row in rows.items() if name.startswith('floor/') and key in row]
    return max(values, default=None)


def _metrics(rows: Mapping[str, Mapping[str, float]], headline: Sequence[str]) -> str:
    tiles = [_tile(rows, key) for key in headline if key in rows['model']]
    return (
        f'<section><h2>Accuracy, in percent</h2><p class="lead">A floor is what an answer scores '
        f'that never reads the sentence.</p><div class="tiles">{"".join(tiles)}</div>'
        f'<div class="card scroll">{_table(rows)}</div></section>'
    )


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics across and the model and its floors down; the other way round if they are many."""
    keys = list(rows['model'])
    grid = [['', *map(escape, keys)]]
    for name, row in rows.items():
        cells = [f'{row[key]:.1f}' if key in row else '–' for key in keys]
        grid.append([escape(ROW_NAMES.get(name, name)), *cells])
    upright = len(keys) > MAX_COLUMNS
    if upright:
        grid = [list(column) for column in zip(*grid)]
    lines = []
    for i, line in enumerate(grid):
        cells = []
        for j, cell in enumerate(line):
            tag = 'th' if i == 0 else 'td'
            kind = ' class="model"' if (j if upright else i) == 1 else ''
            cells.append(f'<{tag}{kind}>{cell}</{tag}>')
        lines.append(f'<tr>{"".join(cells)}</tr>')
    return f'<table>{"".join(lines)}</table>'


def _tile(rows: Mapping[str, Mapping[str, float]], key: str) -> str:
    value, floor = rows['model'][key], best_floor(rows, key)
    mark = remark = ''
    if floor is not None:
        mark = f'<line class="floor" x1="{floor:.2f}%" x2="{floor:.2f}%" y1="0" y2="12"/>'
        remark = f'best floor {floor:.1f}'
        remark += f' (×&nbsp;{value / floor:.1f})' if floor > 0 else ''
    return (
        f'<div class="card"><div class="tile-name">{escape(key)}</div>'
        f'<div class="tile-value">{value:.1f}<small> %</small></div>'
        f'<svg height="12" role="img" aria-label="{value:.1f} of 100">'
        f'<rect class="track" y="2" width="100%" height="8" rx="4"/>'
        f'<rect class="bar" y="2" width="{max(value, 0):.2f}%" height="8" rx="4"/>{mark}</svg>'
        f'<div class="tile-floor">{remark}</div></div>'
    )


def _legend() -> str:
    return (
        '<div class="legend"><span><i class="i-true"></i>true moment</span>'
        '<span><i class="i-guess"></i>best prediction</span>'
        '<span><i class="i-other"></i>further predictions</span></div>'
    )


def _video(video: ReportVideo) -> str:
    queries = '\n'.join(_query(query, video.duration) for query in video.queries)
    return (
        f'<article class="card"><div class="video-head"><h3>{escape(video.video_id)}</h3>'
        f'<span>{video.duration:.1f} s</span></div>{_strip(video.frames)}'
        f'{_axis(video.duration)}{queries}</article>'
    )


def _image(frame: KeyFrame) -> str:
    data = base64.b64encode(encode_jpeg(frame.image)).decode('ascii')
    return f'<img src="data:image/jpeg;base64,{data}" alt="frame at {frame.seconds:.1f} s">'


def _strip(frames: Sequence[KeyFrame]) -> str:
    return f'<div class="strip">{"".join(map(_image, frames))}</div>' if frames else ''


def _axis(duration: float) -> str:
    """Seconds under the key frames, at round numbers."""
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800) if duration / s <= 10),
                3600)  # fmt: skip
    ticks = []
    for seconds in np.arange(0, duration, step):
        x = 100 * seconds / duration
        anchor = 'start' if seconds == 0 else 'middle'
        ticks.append(
            f'<line class="axis" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="5"/>'
            f'<text x="{x:.2f}%" y="16" text-anchor="{anchor}">{_clock(seconds)}</text>'
        )
    return f'<svg height="20" aria-hidden="true">{"".join(ticks)}</svg>'


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f'{whole} s' if whole < 100 else f'{whole // 60}:{whole % 60:02d}'


def _query(query: ReportQuery, duration: float) -> str:
    tags = ''.join(f'<span class="badge tag">{escape(tag)}</span>' for tag in query.tags)
    best = query.predicted[0] if query.predicted else None
    badge = terms = ''
    if best and query.truth:
        iou = max(overlap((best.start, best.end), span) for span in query.truth)
        kind = 'hit' if iou >= 0.5 else 'miss'
        badge = f'<span class="badge {kind}">IoU {iou:.2f}</span>'
    elif query.truth:
        badge = '<span class="badge miss">no prediction</span>'
    if best and best.terms:
        terms = _terms(best.terms)
    lanes = [_lane(query.truth, duration, 'true', 'true')]
    if best:
        guesses = [(m.start, m.end, m.score) for m in query.predicted]
        lanes += [_lane(guesses[1:], duration, 'other', 'predicted')]
        lanes += [_lane(guesses[:1], duration, 'guess', 'predicted')]
    return (
        f'<div class="query"><div class="query-head"><q>{escape(query.text)}</q>{tags}'
        f'{_times(best)}{badge}</div><svg height="{2 * LANE + GAP}" role="img" '
        f'aria-label="true and predicted moments"><rect class="track" width="100%" '
        f'height="{LANE}" rx="3"/><rect class="track" y="{LANE + GAP}" width="100%" '
        f'height="{LANE}" rx="3"/>{"".join(lanes)}</svg>{terms}</div>'
    )


def _times(best: ReportMoment | None) -> str:
    if best is None:
        return ''
    return f'<span class="times">{best.start:.1f}–{best.end:.1f} s, score {best.score:.2f}</span>'


def _lane(spans: Sequence[Sequence[float]], duration: float, kind: str, word: str) -> str:
    y = 0 if kind == 'true' else LANE + GAP
    bars = []
    for start, end, *score in spans:
        x, width = 100 * start / duration, max(100 * (end - start) / duration, 0.25)
        said = f', score {score[0]:.2f}' if score else ''
        bars.append(
            f'<rect class="{kind}" x="{x:.3f}%" y="{y}" width="{width:.3f}%" height="{LANE}" '
            f'rx="3"><title>{word}: {start:.2f}–{end:.2f} s{said}</title></rect>'
        )
    return ''.join(bars)


def _terms(terms: Mapping[str, float]) -> str:
    """What each term gave to the score, as bars on both sides of zero."""
    reach = max(abs(value) for value in terms.values()) or 1.0
    lines = []
    for name, value in terms.items():
        width = 50 * abs(value) / reach
        x = 50 if value >= 0 else 50 - width
        lines.append(
            f'<span>{escape(name)}</span><svg height="9"><rect class="track" width="100%" '
            f'height="9" rx="2"/><rect class="guess" x="{x:.2f}%" width="{width:.2f}%" height="9"/>'
            f'</svg><span>{value:+.2f}</span>'
        )
    return f'<details><summary>why</summary><div class="terms">{"".join(lines)}</div></details>'


def _search(search: ReportSearch) -> str:
    hits = '\n'.join(_hit(hit, place + 1) for place, hit in enumerate(search.hits))
    return (
        f'<article class="card"><div class="query-head"><q><b>{escape(search.query)}</b></q>'
        f'<span class="times">{escape(search.remark)}</span></div>'
        f'<div class="hits">{hits}</div></article>'
    )


def _hit(hit: ReportHit, place: int) -> str:
    picture = _image(hit.frame) if hit.frame else '<div class="noimg"></div>'
    right = hit.verdict == 'right'
    kind = 'hit' if right else 'tag'
    verdict = f'<span class="badge {kind}">{escape(hit.verdict)}</span>' if hit.verdict else ''
    x, width = 100 * hit.start / hit.duration, 100 * (hit.end - hit.start) / hit.duration
    return (
        f'<div class="search-hit{" right" if right else ""}">{picture}'
        f'<svg height="6"><rect class="track" width="100%" height="6"/><rect class="guess" '
        f'x="{x:.2f}%" width="{width:.2f}%" height="6"/></svg><div class="text">'
        f'<b>{place}. {escape(hit.video_id)}</b> {verdict}<br><span class="times">{hit.start:.1f}–'
        f'{hit.end:.1f} s, score {hit.score:.2f}</span></div></div>'
    )


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two spans."""
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / hull if hull > 0 else 0.0
