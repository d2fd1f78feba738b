"""Curves of what was measured, drawn with matplotlib without its global state."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demul_mm.analysis.early_exit import ExitPoint
from demul_mm.visualization.charts import FAINT, INK, LINE, PREDICTED, TERM, TRUTH

COLOURS = (PREDICTED, TRUTH, TERM)


def draw_exit_curve(points: Sequence[ExitPoint], title: str) -> Figure:
    """Accuracy against the stages run for a pair, and against the time; thresholds are named."""
    figure = Figure(figsize=(9.5, 4.2), dpi=120, layout='constrained')
    figure.suptitle(f'Early exit: {title}', x=0.01, ha='left', fontsize=11, color=INK,
                    fontweight='bold')  # fmt: skip
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, label in (
        (left, [point.stages for point in points], 'fusion stages run for a pair'),
        (right, [point.time for point in points], 'time of fusion and head, share of the whole'),
    ):
        _draw_lines(axes, values, points)
        axes.set_xlabel(label, fontsize=8.5, color=FAINT)
    left.set_ylabel('percent', fontsize=8.5, color=FAINT)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc='upper right', ncols=3, frameon=False, fontsize=8,
                  labelcolor=INK)  # fmt: skip
    return figure


def _draw_lines(axes: Axes, values: Sequence[float], points: Sequence[ExitPoint]) -> None:
    # Of equal costs the one without early exit is named.
    order = sorted(range(len(points)), key=lambda i: (values[i], points[i].threshold is None))
    x = [values[i] for i in order]
    for key, colour in zip(points[0].recall, COLOURS):
        y = [points[i].recall[key] for i in order]
        axes.plot(x, y, 'o-', color=colour, linewidth=1.6, markersize=4, label=key)
    top = max(points[0].recall, key=lambda key: points[-1].recall[key])
    last = float('inf')
    for i in reversed(order):  # names that would cover each other are left out
        if last - values[i] < 0.04 * (x[-1] - x[0]):
            continue
        last = values[i]
        limit = points[i].threshold
        name = 'never' if limit is None else f'{limit:g}'
        axes.annotate(name, (values[i], points[i].recall[top]), (0, 6), ha='center', fontsize=7,
                      textcoords='offset points', color=FAINT)  # fmt: skip
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    axes.margins(x=0.06, y=0.15)


def draw_no_match(own: np.ndarray, other: np.ndarray, auc: float) -> Figure:
    """Best probabilities where there is a moment and where there is none, and the ROC curve.

    Args:
        own: ``(N,)`` in [0, 1] of queries in their own video.
        other: ``(N,)`` of the same in a video without their moment.
        auc: area under the curve.
    """
    figure = Figure(figsize=(9.5, 4.0), dpi=120, layout='constrained')
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    bins = np.linspace(0, 1, 26)
    for values, colour, label in (
        (other, TERM, 'in a video without the moment'),
        (own, PREDICTED, 'in the own video'),
    ):
        left.hist(values, bins, color=colour, alpha=0.75, label=label)
    left.set_xlabel('best probability', fontsize=8.5, color=FAINT)
    left.set_ylabel('queries', fontsize=8.5, color=FAINT)
    left.legend(frameon=False, fontsize=8, labelcolor=INK)
    limits = np.concatenate([[-1.0], np.unique(np.concatenate([own, other])), [2.0]])
    detected = [(other < limit).mean() for limit in limits]
    alarms = [(own < limit).mean() for limit in limits]
    right.plot(alarms, detected, color=PREDICTED, linewidth=1.6)
    right.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    right.set(xlim=(0, 1), ylim=(0, 1))
    right.set_title(f'AUC {auc:.3f}', loc='left', fontsize=9, color=INK)
    right.set_xlabel('false alarms', fontsize=8.5, color=FAINT)
    right.set_ylabel('detected', fontsize=8.5, color=FAINT)
    for axes in (left, right):
        axes.grid(color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    return figure
