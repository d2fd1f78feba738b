"""Pictures drawn with matplotlib, without its global state (so they can be drawn in any thread)."""

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demul_mm.evaluation.reliability import Reliability
from demul_mm.files import replacing
from demul_mm.video.frames import KeyFrame
from demul_mm.visualization.phrases import PhraseRows, draw_phrases, draw_weights, phrase_height
from demul_mm.visualization.style import FAINT, INK, LINE, PREDICTED, TERM, TRUTH


class TimelineRow(NamedTuple):
    """One query on the time line; times in seconds."""

    query: str
    truth: Sequence[Sequence[float]]  # [[start, end], ...]
    predicted: Sequence[Sequence[float]] | None  # [[start, end, score], ...]; None: not to be drawn
    terms: Sequence[float] = ()  # of the best prediction
    phrases: PhraseRows | None = None


def plain(axes: Axes, size: float = 8, grid: Literal['both', 'x'] = 'both') -> None:
    """No frame and no ticks, but a grid behind what is drawn; ``size`` is that of the numbers."""
    axes.grid(axis=grid, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=size, labelcolor=FAINT)


def figure_image(figure: Figure) -> np.ndarray:
    """A figure as ``(H, W, 3)`` uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG."""
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def draw_timeline(
    title: str,
    duration: float,
    rows: Sequence[TimelineRow],
    frames: Sequence[KeyFrame] = (),
    term_names: Sequence[str] = (),
    max_predictions: int = 3,
) -> Figure:
    """Key frames over a time line with, for each query, its true and predicted moments.

    Args:
        duration: length of the video in seconds.
        frames: pictures at even times.
        term_names: names of the joint score's terms; bars of them are drawn where rows have terms.
    """
    with_terms = bool(term_names) and any(len(row.terms) for row in rows)
    given = [value for row in rows for value in row.terms]
    limits = (min([0.0, *given]), max([0.0, *given]))  # the same in all rows
    row_height = 0.42 + 0.17 * (1 + max_predictions)
    heights = [1.0] if frames else []
    for row in rows:
        heights += [row_height] + ([phrase_height(row.phrases)] if row.phrases else [])
    size = (11.5 if with_terms else 9.5, 0.75 + (sum(heights) or row_height))
    figure = Figure(figsize=size, dpi=110, layout='constrained')
    figure.suptitle(title, x=0.01, ha='left', fontsize=11, color=INK, fontweight='bold',
                    parse_math=False)  # fmt: skip
    widths = [4, 1] if with_terms else [1]
    grid = figure.add_gridspec(max(len(heights), 1), len(widths), width_ratios=widths,
                               height_ratios=heights or [1])  # fmt: skip
    line = 0
    if frames:
        _draw_strip(figure.add_subplot(grid[0, 0]), frames)
        line = 1
    for i, row in enumerate(rows):
        axes = figure.add_subplot(grid[line, 0])
        _draw_row(axes, row, duration, max_predictions)
        if with_terms and len(row.terms):
            _draw_terms(figure.add_subplot(grid[line, 1]), row.terms, term_names, limits)
        if row.phrases is not None:
            line += 1
            axes.tick_params(labelbottom=False)
            axes = figure.add_subplot(grid[line, 0])
            best = row.predicted[0] if row.predicted else None
            draw_phrases(axes, row.phrases, duration, row.truth, best)
            if with_terms and len(row.phrases.weights):
                draw_weights(figure.add_subplot(grid[line, 1]), row.phrases)
        axes.tick_params(labelbottom=i == len(rows) - 1)
        if i == len(rows) - 1:
            axes.set_xlabel('seconds', fontsize=7.5, color=FAINT)
        line += 1
    return figure


def _draw_strip(axes: Axes, frames: Sequence[KeyFrame]) -> None:
    """Key frames side by side, over the whole width: each stands over its part of the axis."""
    height = frames[0].image.shape[0]
    width = min(frame.image.shape[1] for frame in frames)
    cut = [frame.image[:height, :width] for frame in frames]
    axes.imshow(np.concatenate(cut, 1), aspect='auto')
    for i in range(1, len(cut)):
        axes.axvline(i * width - 0.5, color='white', linewidth=1.5)
    axes.axis('off')


def _draw_row(axes: Axes, row: TimelineRow, duration: float, max_predictions: int) -> None:
    axes.set_title(row.query, loc='left', fontsize=9, color=INK, pad=3, parse_math=False)
    axes.set_xlim(0, duration)
    axes.set_ylim(max_predictions + 0.6, -0.6)
    for start, end in row.truth:
        axes.barh(0, end - start, left=start, height=0.62, color=TRUTH)
    predicted = row.predicted or []
    if row.predicted is not None and not len(row.predicted):
        axes.text(0, 1, 'no such moment', va='center', fontsize=7.5, color=FAINT)
    for place, (start, end, score) in enumerate(predicted[:max_predictions]):
        shade = 1.0 if place == 0 else 0.45
        axes.barh(place + 1, end - start, left=start, height=0.62, color=PREDICTED, alpha=shade)
        at_left = end > 0.88 * duration
        x = start - 0.005 * duration if at_left else end + 0.005 * duration
        axes.text(x, place + 1, f'{score:.2f}', va='center', ha='right' if at_left else 'left',
                  fontsize=7, color=FAINT)  # fmt: skip
    axes.set_yticks([0, 1], ['true', 'predicted'])
    axes.xaxis.set_major_locator(MaxNLocator(8))
    plain(axes, 7.5, 'x')


def _draw_terms(
    axes: Axes, terms: Sequence[float], names: Sequence[str], limits: tuple[float, float]
) -> None:
    """What each term gave to the score of the best prediction."""
    places = range(len(terms))
    axes.barh(places, terms, height=0.6, color=TERM)
    axes.set_xlim(limits)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_yticks(places, names[: len(terms)])
    axes.set_ylim(len(terms) - 0.4, -0.6)
    axes.tick_params(length=0, labelsize=7, labelcolor=FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.spines[:].set_visible(False)


def draw_reliability(table: Reliability, title: str) -> Figure:
    """A reliability diagram: how often predictions are right against what their scores say."""
    figure = Figure(figsize=(5, 6.4), dpi=120, layout='constrained')
    upper, lower = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    upper.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    upper.vlines(table.confidence, table.confidence, table.accuracy, color=LINE, linewidth=3)
    upper.plot(table.confidence, table.accuracy, 'o-', color=PREDICTED, linewidth=1.6, markersize=5,
               clip_on=False)  # fmt: skip
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel='share that is right')
    upper.set_title(f'{title}\nECE {table.ece:.3f}, Brier {table.brier:.3f}', loc='left',
                    fontsize=9.5, color=INK)  # fmt: skip
    lower.bar(table.confidence, table.size, width=0.03, color=FAINT)
    lower.set(xlabel='score', ylabel='predictions')
    for axes in (upper, lower):
        plain(axes)
    return figure
