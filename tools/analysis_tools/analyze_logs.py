"""Draw training curves of runs, and print their cost and the best values of validation.

A run is a work dir of tools/train.py; one of tools/cross_validate.py holds several runs, whose mean
is drawn with their range. Values logged in training (a loss, ``lr``) are means over an epoch;
metrics of validation belong to the epoch before it.

Examples:
    python tools/analysis_tools/analyze_logs.py work_dirs/demul_charades --keys loss mIoU
    python tools/analysis_tools/analyze_logs.py work_dirs/demul_charades_clip_cv \\
        work_dirs/demul_youcook2_transcripts_cv --keys loss R@1,IoU=0.5 --out curves.png
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demul_mm.cli import run_tool, tool_parser

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('work_dirs', nargs='+', type=Path, help='folders, with a line for each')
    parser.add_argument('--keys', nargs='+', default=['loss', 'mIoU'], help='default: loss mIoU')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('curves.png'),
        metavar='FILE.png',
        help='default: curves.png',
    )
    return parser.parse_args()


def read_runs(work_dir: Path) -> list[list[dict[str, Any]]]:
    """The logged rows of each run of a work dir."""
    from demul_mm.analysis.logs import read_scalars
    from demul_mm.evaluation.pooling import fold_runs

    folders = [run.path for run in fold_runs(work_dir)] or [work_dir]
    runs = [rows for folder in folders if (rows := read_scalars(folder))]
    if not runs:
        raise ValueError(
            f'{work_dir} has no */vis_data/scalars.json: give the --work-dir of tools/train.py or '
            'tools/cross_validate.py'
        )
    return runs


def curve(rows: Sequence[dict[str, Any]], key: str) -> dict[int, float]:
    """The value of a key at each epoch, in training the mean of those logged in the epoch."""
    values = defaultdict(list)
    for row in rows:
        if key in row:
            values[row['epoch' if 'iter' in row else 'step']].append(row[key])
    return {epoch: sum(found) / len(found) for epoch, found in values.items()}


def draw(names: Sequence[str], curves: dict[str, dict[str, list[dict[int, float]]]]) -> 'Figure':
    """A panel for each key, with a line for each work dir that logged it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from demul_mm.visualization.charts import plain

    figure = Figure(figsize=(4.2 * len(curves), 3.4), layout='constrained')
    for axes, (key, lines) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items()
    ):
        for name, runs in lines.items():
            values = defaultdict(list)
            for run in runs:
                for epoch, value in run.items():
                    values[epoch].append(value)
            epochs = sorted(values)
            means = [sum(values[epoch]) / len(values[epoch]) for epoch in epochs]
            color = f'C{names.index(name)}'
            axes.plot(epochs, means, marker='o', markersize=2.5, color=color, label=name)
            low, high = ([pick(values[epoch]) for epoch in epochs] for pick in (min, max))
            axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
        plain(axes)
        axes.set_title(key, fontsize=9)
        axes.set_xlabel('epoch', fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def summary(runs: Sequence[Sequence[dict[str, Any]]], keys: Sequence[str]) -> dict[str, float]:
    """Row of the table: the cost of a run and the best of each metric, means over runs."""
    steps = [row for rows in runs for row in rows if 'loss' in row]
    ends = [max(row['iter'] for row in rows if 'loss' in row) for rows in runs]
    row = {
        'runs': len(runs),
        'epochs': max(row['epoch'] for row in steps),
        'iterations': sum(ends) / len(ends),
        's an iteration': sum(row['time'] for row in steps) / len(steps),
        'of that loading': sum(row['data_time'] for row in steps) / len(steps),
    }
    row['minutes'] = row['iterations'] * row['s an iteration'] / 60
    for key, name in (('memory', 'GPU MB'), ('peak_mb', 'peak MB')):
        if values := [row[key] for row in steps if key in row]:
            row[name] = max(values)
    for key in keys:
        validated = [
            [row[key] for row in rows if key in row and 'iter' not in row] for rows in runs
        ]
        if all(validated):
            row[f'best {key}'] = sum(map(max, validated)) / len(runs)
    return row


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.tables import format_table
    from demul_mm.visualization.charts import save_figure

    logs = {folder.name: read_runs(folder) for folder in args.work_dirs}
    if len(logs) < len(args.work_dirs):
        raise ValueError('two work dirs have one name, by which lines are labelled: rename one')
    curves = {
        key: {
            name: found
            for name, runs in logs.items()
            if any(found := [curve(rows, key) for rows in runs])
        }
        for key in args.keys
    }
    for key, lines in curves.items():
        if not lines:
            logged = sorted(
                {name for runs in logs.values() for rows in runs for row in rows for name in row}
            )
            raise ValueError(
                f'--keys {key}: nothing of that name was logged; there is {", ".join(logged)}'
            )
    print(format_table({name: summary(runs, args.keys) for name, runs in logs.items()}))
    save_figure(draw(list(logs), curves), args.out)
    print(f'curves: {args.out}')


if __name__ == '__main__':
    run_tool(main)
