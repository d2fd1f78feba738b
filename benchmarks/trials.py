"""Trainings for the benchmarks: cross-validations, and short ones for cost and learning rate."""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demul_mm.analysis.logs import read_scalars
from demul_mm.cli import load_config
from demul_mm.cli.parser import Listed
from demul_mm.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
# For CPUs: one process does everything and logs its processor time, which other programs on the
# machine do not change.
PROCESS_COST = {
    'default_hooks.timer.type': 'ProcessCostHook',
    'train_dataloader.num_workers': 0,
}


def command_options(options: Mapping[str, Any]) -> list[str]:
    """Settings as the tools take them."""
    settings = [
        f'{key}={value.text if isinstance(value, Listed) else repr(value)}'
        for key, value in options.items()
    ]
    return ['--cfg-options', *settings] if settings else []


def cross_validate(
    config: str, folder: Path, args: argparse.Namespace, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Train and test the folds of a config, or resume that; return the report.

    Raises:
        ChildProcessError: it failed.
    """
    command = [sys.executable, str(ROOT / 'tools/cross_validate.py'), config]
    command += ['--work-dir', str(folder), '--jobs', str(args.jobs)]
    command += ['--seeds', *map(str, args.seeds), '--folds', *map(str, args.folds)]
    command += command_options(options)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'cross_validate.log').open('a') as log:
        code = subprocess.run(command, stdout=log).returncode
    if code:  # it has said why
        raise ChildProcessError(f'{shlex.join(command)} ended with {code}')
    return json.loads((folder / 'report.json').read_text())


class Block(NamedTuple):
    """Iterations that were logged together."""

    iterations: int
    seconds: float  # an iteration, with loading; of the processor where that was logged


def blocks(run: Path) -> list[Block]:
    """The logged blocks of a training, without validation."""
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
) -> bool:
    """Train on a fold's training videos and validate once at the end, on its held-out videos.

    The test videos are not read. A finished training with the same settings and seed is not
    repeated; an unfinished one starts again.

    Returns:
        True if it finished, False if it diverged.

    Raises:
        ChildProcessError: it failed for another reason.
    """
    changes = {**options, 'train_cfg.max_epochs': epochs, 'train_cfg.val_begin': epochs}
    changes |= {f'{part}_dataloader.dataset.folds.test': fold for part in ('train', 'val', 'test')}
    settings = load_config(config, changes)
    settings.work_dir = None
    wanted = {'seed': seed, 'settings': settings.pretty_text}
    finished = folder / 'finished.json'
    if finished.is_file():
        found = json.loads(finished.read_text())
        if found == {**wanted, 'diverged': found['diverged']}:
            return not found['diverged']
    if folder.exists():
        shutil.rmtree(folder)  # its logs are of another training
    folder.mkdir(parents=True)
    command = [sys.executable, str(ROOT / 'tools/train.py'), config, '--work-dir', str(folder)]
    command += ['--seed', str(seed), *command_options(changes)]
    path = folder / 'train.log'
    with path.open('w') as log:
        code = subprocess.run(command, stdout=log, stderr=log).returncode
    text = path.read_text(errors='replace')
    diverged = code != 0 and 'training has diverged: ' in text
    if code and not diverged:
        end = '\n'.join(text.splitlines()[-5:])
        raise ChildProcessError(f'{shlex.join(command)} ended with {code}; {path} ends:\n{end}')
    for checkpoint in folder.glob('*.pth'):
        checkpoint.unlink()
    write_atomically(finished, json.dumps({'diverged': diverged, **wanted}, indent=1) + '\n')
    return not diverged


def epochs_for(seconds: float, folder: Path, config: str, *settings: Any) -> int:
    """How many epochs take about so many seconds.

    One epoch is trained. Its first iterations are slower, since they also encode the sentences;
    they are counted once.

    Raises:
        ValueError: training has diverged.
    """
    if not train(config, folder, 1, *settings):
        raise ValueError(f'{config} has diverged in its first epoch: see {folder / "train.log"}')
    found = blocks(folder)
    steady = found[-1].seconds * sum(block.iterations for block in found)
    first = sum(block.iterations * block.seconds for block in found)
    return max(1, 1 + round((seconds - first) / steady))


def validated(folder: Path, metric: str) -> float:
    """The metric at the last validation, on the held-out videos."""
    rows = [row for row in read_scalars(folder) if metric in row]
    if not rows:
        raise ValueError(f'validation in {folder} does not measure {metric}')
    return rows[-1][metric]
