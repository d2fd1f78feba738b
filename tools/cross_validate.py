"""Train and test every fold of a config, and report the queries of all folds together.

Each run trains by tools/train.py on the other folds, and tests the checkpoint that its held-out
videos chose by tools/test.py on its own fold. Where the config has `language_tuning`, the sentence
encoder is first tuned on the same training videos (tools/tune_language.py) and the text stream made
with it, in the folder of the run. With --refit it then trains once more, on the
held-out videos too, and that is tested; these runs and their report go to refit/ in the work dir,
which is one of the same form. The same command goes on where it was stopped: a finished run is not
repeated, one that was killed is resumed.

Examples:
    python tools/cross_validate.py configs/demul_charades_clip_cv.py
    python tools/cross_validate.py configs/demul_charades_clip_cv.py --jobs 2 --seeds 0 1 2
    python tools/cross_validate.py configs/demul_charades_clip_cv.py --jobs 2 --refit
    python tools/cross_validate.py configs/demul_charades_clip_cv.py --folds 0 1 \\
        --work-dir work_dirs/no_fusion --cfg-options model.neck=None
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.utils import get_git_hash
from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.files import read_text, write_atomically
from demul_mm.registry import DATASETS

if TYPE_CHECKING:
    from demul_mm.pretraining.language import Tuning

TOOLS = Path(__file__).resolve().parent
PARTS = ('train', 'val', 'test')
POLL_SECONDS = 2


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config whose data sets have folds=')
    parser.add_argument(
        '--folds', type=int, nargs='+', help='test on these folds only; default: all'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='default: 0')
    parser.add_argument(
        '--refit',
        action='store_true',
        help='train once more, on held-out videos too, and test that',
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side; default: 1')
    parser.add_argument(
        '--work-dir',
        help='a folder a run and the report go there; default: work_dirs/<name of the config>',
    )
    add_config_options(parser)
    return parser.parse_args()


class Run(NamedTuple):
    """One training and its test."""

    config: Path
    seed: int
    fold: int
    refit: bool = False
    tuning: 'Tuning | None' = None

    @property
    def work_dir(self) -> Path:
        """Where all runs of its kind are."""
        return self.config.parent / 'refit' if self.refit else self.config.parent

    @property
    def folder(self) -> Path:
        return self.work_dir / f'seed_{self.seed}_fold_{self.fold}'

    @property
    def first(self) -> 'Run':
        """The training that holds videos out, of a run that trains once more."""
        return self._replace(refit=False)

    @property
    def predictions(self) -> Path:
        """Written when the run is finished."""
        return self.folder / 'predictions.json'

    def fold_options(self) -> list[str]:
        """What makes a tool take this fold."""
        return [
            '--cfg-options',
            *(f'{part}_dataloader.dataset.folds.test={self.fold}' for part in PARTS),
        ]

    def options(self) -> list[str]:
        """That, and what makes it read what was tuned."""
        tuned = self.tuning.options(self.first.folder) if self.tuning else {}
        return [*self.fold_options(), *(f'{key}={value}' for key, value in tuned.items())]

    def epochs(self) -> int:
        """How many epochs are trained."""
        latest = self.folder / 'last_checkpoint'
        stem = Path(latest.read_text().strip()).stem if latest.is_file() else ''
        return int(stem.removeprefix('epoch_')) if stem.startswith('epoch_') else 0

    def checkpoint(self) -> Path:
        """What is tested of it, or taken over from it."""
        from demul_mm.engine.checkpoint import chosen_checkpoint

        found = chosen_checkpoint(self.folder)
        if found is None:
            raise FileNotFoundError(f'{self.folder} has no checkpoint')
        return found


class Workers:
    """Carry out runs, each in processes of its own.

    Args:
        threads: that each process computes with; None: as it likes.
    """

    def __init__(self, threads: int | None) -> None:
        self.environment = dict(os.environ)
        if threads is not None:
            self.environment.setdefault('OMP_NUM_THREADS', str(threads))
            self.environment.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen] = set()
        self._stopped = False

    def carry_out(self, run: Run) -> None:
        """Train and test, or return at once if that is done.

        Raises:
            ValueError: another process is about it.
        """
        if run.predictions.is_file():
            return
        folder = run.first.folder  # both trainings are of it
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / 'run.lock', timeout=0):
                self._carry_out(run)
        except Timeout:
            raise ValueError(
                f'another process is at work in {folder}; wait for it, or give other --folds'
            ) from None

    def _carry_out(self, run: Run) -> None:
        if run.tuning is not None:
            self._tune(run.first, run.tuning)
        if run.refit:
            self._train(run.first)
            self._train(run, '--refit', str(run.first.checkpoint()))
        else:
            self._train(run)
        place = ['--work-dir', str(run.folder / 'test'), '--dump', str(run.predictions)]
        self._call(run, 'test', str(run.config), str(run.checkpoint()), *place, *run.options())

    def _tune(self, run: Run, tuning: 'Tuning') -> None:
        lm, features = str(tuning.encoder(run.folder)), str(tuning.features(run.folder))
        if not os.path.exists(lm):
            place = ['--out', lm, '--seed', str(run.seed)]
            self._call(run, 'tune_language', str(run.config), *place, *run.fold_options())
        made = ['--lm', lm, '--clip-seconds', f'{tuning.clip_seconds:g}']
        # 1: all is done but what its log lists; a data set says if one of its videos is missing.
        self._call(run, 'data/encode_subtitles', tuning.texts, features, *made, fine=(0, 1))

    def _train(self, run: Run, *arguments: str) -> None:
        """Train to the end; only a test tells that this is reached.

        A run that was stopped may have saved its last epoch, but not validated it nor fitted what
        is fitted then. Resumed it does so, and what is finished stays as it is.
        """
        if not run.predictions.is_file():
            run.folder.mkdir(parents=True, exist_ok=True)
            arguments += ('--work-dir', str(run.folder), '--seed', str(run.seed), '--resume')
            self._call(run, 'train', str(run.config), *arguments, *run.options())

    def _call(self, run: Run, tool: str, *arguments: str, fine: Sequence[int] = (0,)) -> None:
        command = [sys.executable, str(TOOLS / f'{tool}.py'), *arguments]
        log = run.folder / f'{Path(tool).name}.log'
        with log.open('a') as out:
            with self._lock:
                if self._stopped:
                    raise ChildProcessError('another run failed')
                process = subprocess.Popen(
                    command, stdout=out, stderr=subprocess.STDOUT, env=self.environment
                )
                self._processes.add(process)
            code = process.wait()
        if code not in fine:
            end = '\n'.join(log.read_text(errors='replace').splitlines()[-5:])
            raise ChildProcessError(f'{shlex.join(command)} ended with {code}; {log} ends:\n{end}')

    def stop(self) -> None:
        """End what is under way; it can be resumed."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()


def number_of_folds(config: Config) -> int:
    """How many folds the data sets of the config are divided into."""
    folds = [config[f'{part}_dataloader'].dataset.get('folds') or {} for part in PARTS]
    if not all(folds) or len({one.get('num') for one in folds}) > 1:
        raise ValueError(
            'tools/cross_validate.py needs the same folds=dict(num=..., test=..., part=...) in the '
            'dataset of each dataloader; see configs/demul_charades_clip_cv.py'
        )
    return folds[0]['num']


def settle(config: Config, name: str) -> Path:
    """Keep the settings in the work dir, and refuse to go on there with others."""
    path = Path(config.work_dir) / f'{name}.py'
    config.work_dir = None
    text = config.pretty_text
    if path.is_file() and read_text(path) != text:
        raise ValueError(
            f'{path.parent} holds runs with other settings (compare {path}); take another '
            '--work-dir, or remove that one'
        )
    write_atomically(path, text)
    return path


def carry_out(runs: Sequence[Run], jobs: int, max_epochs: int) -> None:
    """Carry out all runs, ``jobs`` at a time, and show the epochs that are done."""
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
    trainings = {*runs, *(run.first for run in runs)}
    workers = Workers(threads)
    with (
        ThreadPoolExecutor(jobs) as threads,
        tqdm(
            total=len(trainings) * max_epochs,
            initial=sum(run.epochs() for run in trainings),
            unit='epoch',
            smoothing=0,
        ) as bar,
    ):
        waiting = {threads.submit(workers.carry_out, run) for run in runs}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=POLL_SECONDS)
                for one in done:
                    one.result()
                bar.update(sum(run.epochs() for run in trainings) - bar.n)
        finally:
            workers.stop()  # ends the others where one failed


def count_train_queries(config: Config, folds: Sequence[int], refit: bool) -> float:
    """The mean over folds of the queries that are trained on, of held-out videos too or not."""
    from demul_mm.evaluation.floors import annotation_entries

    counts = []
    for fold in folds:
        dataset = config.train_dataloader.dataset.to_dict()
        dataset.update(pipeline=[], folds=dict(dataset['folds'], test=fold))
        dataset.update(subset='all' if refit else dataset.get('subset', 'all'))
        counts.append(len(annotation_entries(DATASETS.build(dataset))))
    return sum(counts) / len(counts)


def step_recall(runs: Sequence[Run], queries: Sequence[int]) -> dict[str, float]:
    """Where the test searched a corpus: how often the right video survived each step."""
    from demul_mm.evaluation.pooling import mean_over_queries

    found = []
    for run in runs:
        path = max((run.folder / 'test').glob('*/[0-9]*.json'))
        metrics = json.loads(read_text(path))
        found.append({k: v for k, v in metrics.items() if k.startswith('recall/')})
    return mean_over_queries(found, queries)


def report(config: Config, runs: Sequence[Run], command: str) -> dict[str, Any]:
    """Pool the runs of each seed, write their predictions, and compute all figures."""
    from demul_mm.evaluation.pooling import pool, pooled_report
    from demul_mm.evaluation.predictions import load_predictions, save_predictions
    from demul_mm.evaluation.rescore import evaluator_metrics

    seeds = sorted({run.seed for run in runs})
    folds = sorted({run.fold for run in runs})
    name = runs[0].config.stem
    entries = []
    for seed in seeds:
        found = [load_predictions(run.predictions) for run in runs if run.seed == seed]
        entries.append([part for _, part in found])
        meta = {**found[0][0], 'config': name, 'seed': seed, 'folds': folds}
        save_predictions(runs[0].work_dir / f'seed_{seed}.json', pool(entries[-1]), meta)
    queries = pool(entries[0])
    sizes = [len(part) for of_seed in entries for part in of_seed]
    return {
        'config': name,
        'command': command,
        'commit': get_git_hash(digits=7),
        'seeds': seeds,
        'folds': folds,
        'queries': len(queries),
        'videos': len({entry['video_id'] for entry in queries}),
        'train_queries': count_train_queries(config, folds, runs[0].refit),
        'published_train_queries': config.get('published_train_queries'),
        'metrics': pooled_report(evaluator_metrics(config.test_evaluator), entries),
        'steps': step_recall(runs, sizes),
    }


def page(found: dict[str, Any]) -> str:
    """The report in Markdown."""
    from demul_mm.evaluation.tables import format_markdown

    trained = f'Training sees {found["train_queries"]:,.0f} queries on average'
    published = found['published_train_queries']
    if published:
        share = 100 * found['train_queries'] / published
        trained += (
            f', {share:.0f} % of the {published:,} of the published protocol: published figures '
            'are not comparable'
        )
    folds, seeds = (', '.join(map(str, found[key])) for key in ('folds', 'seeds'))
    # A corpus metric counts the known videos once more.
    shown = {key: row for key, row in found['metrics'].items() if not key.startswith('SVMR/')}
    lines = [
        f'# {found["config"]}: cross-validation by video',
        '',
        f'`{found["command"]}` at commit `{found["commit"]}`: folds {folds}; seeds {seeds}.',
        '',
        f'{found["queries"]:,} queries of {found["videos"]:,} videos, each tested by a model that '
        f'was trained, chosen and calibrated on other videos. {trained}.',
        '`low` and `high`: 95 % interval, by drawing videos. Floors never read the sentence.',
        '',
        format_markdown(shown),
        '',
    ]
    if found['steps']:
        steps = {key.removeprefix('recall/'): value for key, value in found['steps'].items()}
        lines += ['The right video is left after each step of the search:', '']
        lines += [format_markdown({'% of the queries': steps}), '']
    return '\n'.join(lines)


@contextmanager
def exit_when_terminated() -> Iterator[None]:
    """Make an exit of SIGTERM, so that the runs are ended too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options, args.work_dir)
    num = number_of_folds(config)
    folds = sorted(set(args.folds or range(num)))
    if not 0 <= folds[0] <= folds[-1] < num:
        raise ValueError(f'--folds {folds}: the config has folds 0 to {num - 1}')
    path = settle(config, Path(args.config).stem)
    from demul_mm.pretraining.language import Tuning

    tuning = Tuning.of(config)
    runs = [
        Run(path, seed, fold, args.refit, tuning)
        for seed in sorted(set(args.seeds))
        for fold in folds
    ]
    with exit_when_terminated():
        carry_out(runs, args.jobs, config.train_cfg.max_epochs)
    MMLogger.get_current_instance().setLevel('WARNING')  # the tables are printed below
    command = shlex.join(['python', 'tools/cross_validate.py', *sys.argv[1:]])
    place = runs[0].work_dir
    found = report(config, runs, command)
    write_atomically(place / 'report.json', json.dumps(found, indent=1) + '\n')
    write_atomically(place / 'report.md', page(found))
    print(page(found))


if __name__ == '__main__':
    run_tool(main)
