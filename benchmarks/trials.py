"""Trainings of the benchmarks: of all folds, or short ones that tell cost and learning rate."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demul_mm.files import write_atomically
from demul_mm.logs import read_scalars

ROOT = Path(__file__).resolve().parents[1]
# Where no GPU computes, a busy machine does not count: one process does all, and its own time is
# logged beside that of the clock.
PROCESS_COST = {
    'default_hooks.timer.type': 'ProcessCostHook',
    'train_dataloader.num_workers': 0,
}


def command_options(options: Mapping[str, Any]) -> list[str]:
    """Settings as the tools take them."""
    settings = [f'{key}={value!r}' for key, value in options.items()]
    return ['--cfg-options', *settings] if settings else []


def cross_validate(
    config: str, folder: Path, args: argparse.Namespace, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Train and test the folds of a config, or go on with it; its report."""
    command = [sys.executable, str(ROOT / 'tools/cross_validate.py'), config]
    command += ['--work-dir', str(folder), '--jobs', str(args.jobs)]
    command += ['--seeds', *map(str, args.seeds), '--folds', *map(str, args.folds)]
    command += command_options(options)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'cross_validate.log').open('a') as log:
        subprocess.run(command, stdout=log, check=True)
    return json.loads((folder / 'report.json').read_text())


class Block(NamedTuple):
    """Iterations that were logged together."""

    iterations: int
    seconds: float  # of each, with loading: of the processor where that was logged


def blocks(run: Path) -> list[Block]:
    """Of a training, without validation."""
    rows = {row['iter']: row for row in read_scalars(run) if 'loss' in row}
    found, before = [], 0
    for iteration, row in sorted(rows.items()):
        found.append(Block(iteration - before, row.get('processor_time', row['time'])))
        before = iteration
    return found


def training_cost(runs: Sequence[Path]) -> dict[str, float]:
    """Seconds of a training, the mean over runs, and the most memory in MB that they logged."""
    seconds = [n * each for run in runs for n, each in blocks(run)]
    cost = {'train s': sum(seconds) / len(runs)}
    rows = [row for run in runs for row in read_scalars(run) if 'loss' in row]
    for key, name in (('memory', 'GPU MB'), ('peak_mb', 'peak MB')):
        if any(key in row for row in rows):
            cost[name] = max(float(row.get(key, 0)) for row in rows)
    return cost


def train(
    config: str, folder: Path, epochs: int, fold: int, seed: int, options: Mapping[str, Any]
) -> None:
    """Train on a fold's training videos and validate once at the end, on those it holds out.

    The test videos are not read. A training that is finished is not repeated.
    """
    if (folder / 'finished').is_file():
        return
    schedule = {'train_cfg.max_epochs': epochs, 'train_cfg.val_begin': epochs}
    places = {f'{part}_dataloader.dataset.folds.test': fold for part in ('train', 'val', 'test')}
    command = [sys.executable, str(ROOT / 'tools/train.py'), config, '--work-dir', str(folder)]
    command += ['--seed', str(seed), *command_options({**options, **schedule, **places})]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'train.log').open('a') as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)
    for checkpoint in folder.glob('*.pth'):
        checkpoint.unlink()
    write_atomically(folder / 'finished', '')


def epochs_for(seconds: float, folder: Path, config: str, *settings: Any) -> int:
    """How many epochs take about so long.

    One is trained; its first iterations, which also read the sentences, count once.
    """
    train(config, folder, 1, *settings)
    found = blocks(folder)
    steady = found[-1].seconds * sum(block.iterations for block in found)
    first = sum(block.iterations * block.seconds for block in found)
    return max(1, 1 + round((seconds - first) / steady))


def validated(folder: Path, metric: str) -> float:
    """The metric on the videos that were held out."""
    rows = [row for row in read_scalars(folder) if metric in row]
    if not rows:
        raise ValueError(f'validation in {folder} does not measure {metric}')
    return rows[-1][metric]
