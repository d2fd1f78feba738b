"""Curves of what was measured, drawn with matplotlib without its global state."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demul_mm.analysis.early_exit import ExitPoint
from demul_mm.visualization.charts import FAINT, INK, PREDICTED, TERM, TRUTH, plain

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
    plain(axes)
    axes.margins(x=0.06, y=0.15)


def draw_no_match(
    own: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], auc: Mapping[str, float]
) -> Figure:
    """Scores where there is a moment and where there is none, and their ROC curves.

    Args:
        own: by score, ``(N,)`` of queries in the video that holds their moment.
        other: the same in a video without it.
    """
    names = {'probability': 'best probability', 'likeness': 'likeness of query and video'}
    figure = Figure(figsize=(12, 3.8), dpi=110, layout='constrained')
    *panels, curve = figure.subplots(1, len(names) + 1)
    for axes, (name, title) in zip(panels, names.items()):
        both = np.concatenate([own[name], other[name]])
        bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), 30)
        for values, colour, label in (
            (other[name], TERM, 'in a video without the moment'),
            (own[name], PREDICTED, 'in the own video'),
        ):
            axes.hist(values, bins, color=colour, alpha=0.7, label=label)
        axes.set_xlabel(title, fontsize=8.5, color=FAINT)
    panels[0].set_ylabel('queries', fontsize=8.5, color=FAINT)
    panels[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    for (name, title), colour in zip(names.items(), (TERM, PREDICTED)):
        limits = np.unique(np.concatenate([own[name], other[name]]))
        limits = np.append(limits, limits[-1] + 1)
        alarms = [(own[name] < limit).mean() for limit in limits]
        detected = [(other[name] < limit).mean() for limit in limits]
        label = f'{title}: AUC {auc[name]:.3f}'
        curve.plot(alarms, detected, color=colour, linewidth=1.8, label=label)
    curve.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    curve.set(xlim=(0, 1), ylim=(0, 1))
    curve.set_xlabel('false alarms', fontsize=8.5, color=FAINT)
    curve.set_ylabel('detected', fontsize=8.5, color=FAINT)
    curve.legend(frameon=False, fontsize=8, labelcolor=INK, loc='lower right')
    for axes in (*panels, curve):
        plain(axes)
    return figure
