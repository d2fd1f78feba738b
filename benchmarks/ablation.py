"""Train variants of a config with several seeds, test them, and write a table.

The first config is the full model; the others are named by what their file name adds to its. Each
run is kept with its result: the same command goes on where it was stopped, and a run whose
settings changed is done anew (after a change of the code, take another --work-dir; the page names
the commit of every run). With --seconds every variant trains for about the same time: its
first steps are timed, and it gets as many whole epochs as fit (at least one).

Examples:
    OMP_WAIT_POLICY=PASSIVE python benchmarks/ablation.py --epochs 6 \\
        --cfg-options train_dataloader.dataset.max_videos=3000
    OMP_WAIT_POLICY=PASSIVE python benchmarks/ablation.py --seconds 240 --seeds 0 1 2
    OMP_WAIT_POLICY=PASSIVE python benchmarks/ablation.py configs/demul_anet_simulated.py \\
        configs/ablations/demul_anet_simulated_no_fusion.py --epochs 6 --out work_dirs/fusion.md
"""

import argparse
import hashlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from demul_mm.engine.checkpoint import allow_mmengine_checkpoints
from demul_mm.engine.cli import launch, load_config
from demul_mm.evaluation.tables import split_floors

ROOT = Path(__file__).resolve().parents[1]
FULL = ROOT / 'configs' / 'demul_anet_simulated.py'
TIMED_STEPS = 24


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ablations = sorted((ROOT / 'configs' / 'ablations').glob(f'{FULL.stem}_*.py'))
    parser.add_argument(
        'configs',
        nargs='*',
        type=Path,
        default=[FULL, *ablations],
        help=f'the full model, then its variants (default: {FULL.stem} and configs/ablations)',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument('--epochs', type=int, help='train each run so many epochs')
    length.add_argument('--seconds', type=float, help='train each run for about so long')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'ablation.md')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='for all configs')
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error(f'--epochs {args.epochs}: give at least 1')
    return args


class TrainingClock(Hook):
    """Counts the seconds of training without validation, over stops and resumption."""

    def before_train(self, runner: Runner) -> None:
        self.seconds = runner.message_hub.get_info('training_seconds', 0.0)

    def before_train_epoch(self, runner: Runner) -> None:
        self._start = time.perf_counter()

    def after_train_epoch(self, runner: Runner) -> None:  # before the checkpoint is saved
        self.seconds += time.perf_counter() - self._start
        runner.message_hub.update_info('training_seconds', self.seconds)


class _Timed(Exception):
    """Enough steps are timed."""


class StepTimer(Hook):
    """Times the first steps, the first half of them to warm up, then ends the run."""

    def before_train(self, runner: Runner) -> None:
        self._ends = [time.perf_counter()]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        self._ends.append(time.perf_counter())
        if len(self._ends) > min(TIMED_STEPS, len(runner.train_dataloader)):
            steps = [b - a for a, b in zip(self._ends, self._ends[1:])]
            mean = statistics.fmean(steps[len(steps) // 2 :])
            self.epoch_seconds = mean * len(runner.train_dataloader)
            raise _Timed


def write_json(path: Path, value: Mapping) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(value, indent=1))
    os.replace(temporary, path)


def commit() -> str:
    """The short hash of the code, with a mark if files differ from it."""
    git = ['git', '-C', str(ROOT)]
    done = subprocess.run([*git, 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True)
    status = [*git, 'status', '--porcelain', '--untracked-files=no']
    changed = subprocess.run(status, capture_output=True, text=True).stdout.strip()
    return (done.stdout.strip() or 'unknown') + (' with changes' if changed else '')


def prepare(path: Path, options: Mapping | None, epochs: int, seed: int, folder: Path) -> Runner:
    """A runner that validates once, after the last epoch, which also calibrates."""
    config = load_config(str(path), options, str(folder))
    config.train_cfg.max_epochs = config.train_cfg.val_interval = epochs
    config.randomness = dict(config.get('randomness') or {}, seed=seed)
    config.experiment_name = f'{path.stem}_{folder.name}_{time.time_ns()}'
    config.resume, config.load_from = True, None
    launch(config, 'none')
    return Runner.from_cfg(config)


def epochs_of(path: Path, args: argparse.Namespace, folder: Path) -> int:
    """How many epochs a variant trains; what was timed once is kept."""
    if args.epochs is not None:
        return args.epochs
    kept = folder / 'epochs.json'
    if not kept.is_file():
        runner = prepare(path, args.cfg_options, 1, args.seeds[0], folder / 'timing')
        timer = StepTimer()
        runner.register_hook(timer)
        try:
            runner.train()
        except _Timed:
            seconds = timer.epoch_seconds
        epochs = max(1, round(args.seconds / seconds))
        write_json(kept, dict(epochs=epochs, epoch_seconds=seconds))
    return json.loads(kept.read_text())['epochs']


def run(path: Path, seed: int, args: argparse.Namespace) -> dict:
    """Train and test one variant with one seed, or read its result."""
    settings = load_config(str(path), args.cfg_options, '.').pretty_text
    digest = hashlib.sha1(f'{args.epochs} {args.seconds}\n{settings}'.encode()).hexdigest()[:8]
    folder = args.work_dir / f'{path.stem}_{digest}'
    result = folder / f'seed_{seed}' / 'result.json'
    if not result.is_file():
        epochs = epochs_of(path, args, folder)
        runner = prepare(path, args.cfg_options, epochs, seed, result.parent)
        clock = TrainingClock()
        runner.register_hook(clock)
        runner.train()
        metrics = runner.test()
        simulated = any(getattr(m, 'simulated', False) for m in runner.test_evaluator.metrics)
        done = dict(epochs=epochs, seconds=clock.seconds, simulated=simulated, commit=commit())
        write_json(result, dict(done, metrics=metrics))
    return json.loads(result.read_text())


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Mean and, of several values, their sample standard deviation."""
    mean = f'{statistics.fmean(values):.{decimals}f}'
    return f'{mean} ± {statistics.stdev(values):.{decimals}f}' if len(values) > 1 else mean


def table(results: Mapping[str, Sequence[Mapping]]) -> list[str]:
    """Lines of Markdown: variants, then the floors and what a perfect ranking would score.

    Args:
        results: results of all seeds of each variant, the full model first.
    """
    rows: dict[str, dict[str, list[float]]] = {}
    beside: dict[str, dict[str, list[float]]] = {}
    for name, runs in results.items():
        for one in runs:
            for kind, metrics in split_floors(one['metrics']).items():
                # A floor reads no model: it is the same for all of them.
                title = {'model': name, 'oracle': f'oracle of {name}'}.get(kind, kind)
                part = rows if kind == 'model' else beside
                if not kind.startswith('floor/') or one is next(iter(results.values()))[0]:
                    for key, value in metrics.items():
                        part.setdefault(title, {}).setdefault(key, []).append(value)
    columns = list(next(iter(rows.values())))
    lines = [
        '| | epochs | training s | ' + ' | '.join(columns) + ' |',
        '| --- |' + ' --- |' * (len(columns) + 2),
    ]
    ordered = sorted(beside, key=lambda title: not title.startswith('floor/'))
    for title, metrics in [*rows.items(), *((title, beside[title]) for title in ordered)]:
        runs = results.get(title)
        cells = [title]
        cells.append(spread([one['epochs'] for one in runs], 0) if runs else '')
        cells.append(spread([one['seconds'] for one in runs], 0) if runs else '')
        cells += [spread(metrics[key]) if key in metrics else '' for key in columns]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return lines


def document(results: Mapping[str, Sequence[Mapping]], command: str, seeds: Sequence[int]) -> str:
    """The page: how it was made, what it is no measure of, and the table."""
    runs = [one for of_name in results.values() for one in of_name]
    commits = ', '.join(f'`{name}`' for name in sorted({one['commit'] for one in runs}))
    lines = ['# Ablations', '', f'Made by `{command}` at commit {commits}.']
    if any(one['simulated'] for one in runs):
        lines.append('**Simulated features**: no measure of accuracy on real videos.')
    kind = 'mean ± sample standard deviation' if len(seeds) > 1 else 'one seed, no deviation'
    lines += [
        f'Seeds {", ".join(map(str, seeds))}: {kind}. The last weights are tested, not the best.',
        'Floors never read the sentence; an oracle ranks the candidates that its model returned',
        'perfectly.',
        '',
        *table(results),
        '',
    ]
    return '\n'.join(lines)


def short_names(paths: Sequence[Path]) -> list[str]:
    """'full', then what each file name adds to the first."""
    first = paths[0].stem
    return ['full', *(path.stem.removeprefix(f'{first}_') for path in paths[1:])]


def main() -> None:
    args = parse_args()
    allow_mmengine_checkpoints()
    results: dict[str, list[dict]] = {name: [] for name in short_names(args.configs)}
    # All variants of a seed before the next seed: a run that is stopped has something of each.
    jobs = [(seed, *pair) for seed in args.seeds for pair in zip(results, args.configs)]
    for seed, name, path in tqdm(jobs, unit='run'):
        results[name].append(run(path, seed, args))
    command = shlex.join(['python', 'benchmarks/ablation.py', *sys.argv[1:]])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_suffix('.tmp')
    temporary.write_text(document(results, command, args.seeds))
    os.replace(temporary, args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
