"""Several methods on one data set in one run: the same folds, seeds, features and sentences.

Each config is trained and tested by tools/cross_validate.py; floors are those of the first one.
All train for the epochs of their configs, or for equally many (--epochs), or for about as long
(--seconds: an epoch of each is timed first); in the latter two cases all are validated at the same
shares of their training. Seconds are processor time, which does not depend on other load, or wall
time on a GPU. --rates tries multiples of each config's learning rate, for a quarter of the epochs,
validates them on held-out training videos of the first fold, and takes the best; a rate with which
training diverges counts as the worst. The same command resumes where it was stopped; table.md,
table.json and accuracy.png in the work dir are rewritten after each method.

Examples:
    python benchmarks/compare.py configs/demul_charades_clip_cv.py projects/*/configs/*_clip_cv.py
    python benchmarks/compare.py configs/demul_charades_clip_cv.py \\
        projects/snag/configs/snag_charades_clip_cv.py --epochs 16 --seeds 0 1 2
    python benchmarks/compare.py configs/demul_charades_clip_cv.py \\
        projects/tan2d/configs/mmn_charades_clip_cv.py --seconds 600 --folds 0 \\
        --rates 0.3 1 3
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials import (
    PROCESS_COST,
    cross_validate,
    epochs_for,
    train,
    training_cost,
    validated,
)

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='+', help='configs with folds; the first gives the floors')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=int, help='train each for so many epochs')
    length.add_argument('--seconds', type=float, help='train each fold for about so long')
    parser.add_argument('--folds', type=int, nargs='+', help='these only; default: all')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='default: 0')
    parser.add_argument('--rates', type=float, nargs='+', help='multiples of the rate to try')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side; default: 1')
    parser.add_argument(
        '--picture',
        metavar='METRIC',
        help='to draw and to choose rates by; default: that by which the first config chooses '
        'checkpoints',
    )
    parser.add_argument('--work-dir', default='work_dirs/compare', help='default: %(default)s')
    add_config_options(parser)
    return parser.parse_args()


def parameters(config: 'Config') -> float:
    """Trained parameters of the model, in millions."""
    from demul_mm.registry import MODELS

    model = MODELS.build(config.model.to_dict())
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6


def number_of_folds(config: str, options: Mapping[str, Any] | None = None) -> int:
    return load_config(config, options).test_dataloader.dataset.folds.num


def choosing_metric(config: str, options: Mapping[str, Any] | None = None) -> str:
    """The metric by which a config chooses checkpoints."""
    metric = load_config(config, options).default_hooks.checkpoint.get('save_best', 'auto')
    return 'mIoU' if metric == 'auto' else metric


def rates(
    config: str, epochs: int, folder: Path, args: argparse.Namespace, options: Mapping[str, Any]
) -> dict[float, float | None]:
    """The metric of each learning rate after a quarter of the epochs, on held-out training videos.

    None: training diverged.
    """
    rate = load_config(config, args.cfg_options).optim_wrapper.optimizer.lr
    found: dict[float, float | None] = {}
    for factor in args.rates:
        tried = float(f'{rate * factor:.3g}')
        run = folder / f'{tried:g}'
        settings = {**options, 'optim_wrapper.optimizer.lr': tried}
        short = max(1, round(epochs / 4))
        ended = train(config, run, short, args.folds[0], args.seeds[0], settings)
        found[tried] = validated(run, args.picture) if ended else None
    return found


def best_rate(tried: Mapping[float, float | None]) -> float:
    """The best learning rate, of those with which training did not diverge."""
    reached = {rate: value for rate, value in tried.items() if value is not None}
    if not reached:
        listed = ', '.join(f'{rate:g}' for rate in tried)
        raise ValueError(f'with each of the rates {listed} training has diverged: lower --rates')
    return max(reached, key=lambda rate: reached[rate])


def measure(config: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train and test a config: its report, and its cost."""
    import torch

    from demul_mm.evaluation.pooling import fold_runs

    name, work_dir = Path(config).stem, Path(args.work_dir)
    options = dict(args.cfg_options or {})
    options |= {} if torch.cuda.is_available() else PROCESS_COST
    epochs = args.epochs or load_config(config, args.cfg_options).train_cfg.max_epochs
    if args.seconds is not None:
        trial = work_dir / 'trials' / name / 'time'
        epochs = epochs_for(args.seconds, trial, config, args.folds[0], args.seeds[0], options)
    tried = {}
    if args.rates:
        tried = rates(config, epochs, work_dir / 'trials' / name, args, options)
        options['optim_wrapper.optimizer.lr'] = best_rate(tried)
    options['train_cfg.max_epochs'] = epochs
    if args.epochs or args.seconds is not None:
        # Validation chooses the checkpoint: in all methods at the same shares of their training.
        options['train_cfg.val_begin'] = max(1, round(epochs / 3))
        options['train_cfg.val_interval'] = max(1, round(epochs / 9))
    found = cross_validate(config, work_dir / name, args, options)
    loaded = load_config(str(work_dir / name / f'{name}.py'))
    runs = [
        run.path
        for run in fold_runs(work_dir / name)
        if run.seed in found['seeds'] and run.fold in found['folds']
    ]
    cost = {'params M': parameters(loaded), 'epochs': epochs} | training_cost(runs)
    seen = epochs * found['train_queries']
    cost['queries/s'] = seen / max(cost['train s'], 1e-9)
    cost['lr'] = loaded.optim_wrapper.optimizer.lr
    return {'config': config, 'report': found, 'cost': cost, 'rates': tried}


def rows_of(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | str]]:
    """The table: each method with what it costs, then the floors and each method's oracle."""
    rows: dict[str, dict[str, float | str]] = {}
    tables = {
        name: {
            key: row
            for key, row in result['report']['metrics'].items()
            if not key.startswith('SVMR/')
        }
        for name, result in results.items()
    }
    for name, metrics in tables.items():
        mean = {key: row['mean'] for key, row in metrics.items()}
        rows[name] = {**mean, **results[name]['cost']}
    for key, row in next(iter(tables.values())).items():
        for floor in (part for part in row if part.startswith('floor/')):
            rows.setdefault(floor, {})[key] = row[floor]
    for name, metrics in tables.items():
        oracle = {key: row['oracle'] for key, row in metrics.items() if 'oracle' in row}
        if oracle:
            rows[f'oracle of {name}'] = oracle
    return rows


def page(results: Mapping[str, Mapping[str, Any]], command: str) -> str:
    """The table in Markdown, with how it was made."""
    from demul_mm.evaluation.tables import format_markdown

    first = next(iter(results.values()))['report']
    folds, seeds = (', '.join(map(str, first[key])) for key in ('folds', 'seeds'))
    lines = [
        '# Methods side by side',
        '',
        f'`{command}` at commit `{first["commit"]}`: {first["queries"]:,} queries of '
        f'{first["videos"]:,} videos; folds {folds}; seeds {seeds}. Each query is tested by a '
        'model trained and chosen on other videos, with '
        f'{first["train_queries"]:,.0f} queries on average. `train s`: of one fold, with loading, '
        'without validation. `queries/s`: those queries times epochs, over that. An oracle ranks '
        'its own predictions perfectly; floors never read the sentence.',
        '',
        format_markdown(rows_of(results)),
        '',
    ]
    return '\n'.join(lines)


def draw(results: Mapping[str, Mapping[str, Any]], metric: str) -> 'Figure':
    """Accuracy with its interval against the time of training, and against parameters."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label in (
        (left, 'train s', 'seconds of training, one fold'),
        (right, 'params M', 'trained parameters, millions'),
    ):
        for name, result in results.items():
            row, x = result['report']['metrics'][metric], result['cost'][key]
            away = [[row['mean'] - row['low']], [row['high'] - row['mean']]]
            axes.errorbar(x, row['mean'], away, fmt='o', capsize=2)
            axes.annotate(name, (x, row['mean']), (4, 4), textcoords='offset points', fontsize=7)
        axes.set_xscale('log')
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    left.set_ylabel(f'{metric}, %')
    return figure


def short_names(configs: Sequence[str]) -> dict[str, str]:
    """Each config's name without the ending that all names share."""
    stems = [Path(config).stem for config in configs]
    if len(set(stems)) < len(stems):
        raise ValueError('two configs have one name: their runs would go into one folder')
    words = [stem.split('_') for stem in stems]
    shared = 0
    while all(len(w) > shared + 1 and w[-1 - shared] == words[0][-1 - shared] for w in words):
        shared += 1
    shared = shared if len(stems) > 1 else 0
    return {c: '_'.join(w[: len(w) - shared]) for c, w in zip(configs, words)}


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.tables import format_markdown
    from demul_mm.visualization.charts import save_figure

    args.picture = args.picture or choosing_metric(args.configs[0], args.cfg_options)
    args.folds = args.folds or [*range(number_of_folds(args.configs[0], args.cfg_options))]
    work_dir = Path(args.work_dir)
    command = shlex.join(['python', 'benchmarks/compare.py', *sys.argv[1:]])
    results: dict[str, dict[str, Any]] = {}
    for config, name in short_names(args.configs).items():
        results[name] = measure(config, args)
        if args.picture not in results[name]['report']['metrics']:
            raise ValueError(
                f'--picture {args.picture}: {config} measures '
                f'{", ".join(results[name]["report"]["metrics"])}'
            )
        write_atomically(work_dir / 'table.json', json.dumps(results, indent=1) + '\n')
        write_atomically(work_dir / 'table.md', page(results, command))
        save_figure(draw(results, args.picture), work_dir / 'accuracy.png')
        print(format_markdown(rows_of(results)), flush=True)


if __name__ == '__main__':
    run_tool(main)
