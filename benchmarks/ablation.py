"""Train variants of a config with several seeds, test them, and write a table.

A suite (``benchmarks/suites.py``) names a full model, its variants, their seeds and how long each
trains; configs can be given instead. The first config is the full model, of which --variants are
ablations (``benchmarks/ablations.py``); the others are named after their files. Results are kept:
the same command resumes where it was stopped, and repeats only runs whose settings changed (after a
change of the code, give another --work-dir; the page names the commit of every run).

With --seconds every variant trains for the same time: the steps of all variants are timed in turns,
and each gets as many as fit; the last epoch may end early. Time is processor time, with one thread
a run, without that of a frozen language model, which encodes each sentence only once. The warm-up
is a tenth of the steps.

Examples:
    python benchmarks/ablation.py --suite rendered activitynet tacos --jobs 2
    python benchmarks/ablation.py configs/demul_anet.py --variants no_fusion --seconds 240 \\
        --cfg-options features=configs/_base_/features/simulated.py
    python benchmarks/ablation.py configs/demul_demo.py my_change.py --epochs 6 \\
        --out work_dirs/my_change.md
"""

import os

# Before torch is loaded: runs stand side by side, one thread each.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import argparse
import hashlib
import itertools
import json
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from ablations import ABLATIONS
from measuring import commit
from suites import BASELINES, ROOT, SUITES, Length, Suite, Variant, ablations_of
from tqdm import tqdm

from demul_mm.cli import run_tool, tool_parser
from demul_mm.cli.parser import Options
from demul_mm.files import write_atomically

if TYPE_CHECKING:
    from mmengine.runner import Runner

TIMED_ROUNDS = 8
TURN = 6  # steps of one variant in a round
WARM_UP = 0.1  # of the steps


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='*', type=Path, help='the full model, then its variants')
    parser.add_argument('--suite', nargs='+', choices=SUITES, default=[], help='instead of configs')
    parser.add_argument(
        '--variants',
        nargs='+',
        help='ablations beside the full model; default: all of a suite, none of a config',
    )
    parser.add_argument('--seeds', type=int, nargs='+', help='of every variant; default: 0 1 2')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=int, help='train each run so many epochs')
    length.add_argument('--seconds', type=float, help='train each run for about so long')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side; default: 1')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument(
        '--only-kept', action='store_true', help='run nothing, write the page of finished runs'
    )
    parser.add_argument('--out', type=Path, help='page to write; default: docs/ablation/<suite>.md')
    parser.add_argument('--cfg-options', nargs='+', action=Options, help='for all configs')
    args = parser.parse_args()
    if bool(args.suite) == bool(args.configs):
        parser.error('give configs, or a --suite')
    if args.configs and args.epochs is None and args.seconds is None:
        parser.error('with configs, give --epochs or --seconds')
    known = {name for suite in args.suite for name in SUITES[suite].others} or set(ABLATIONS)
    unknown = sorted(set(args.variants or ()) - known)
    if unknown:
        parser.error(f'--variants {unknown[0]}: allowed here: {", ".join(sorted(known))}')
    if args.epochs is not None and args.epochs < 1:
        parser.error(f'--epochs {args.epochs}: give at least 1')
    return args


def suites_of(args: argparse.Namespace) -> dict[str, Suite]:
    """The suites asked for, with what the command line changes."""
    if args.configs:
        full, *configs = args.configs
        names = ['full', *(path.stem for path in configs), *(args.variants or ())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'two rows would be called {twice[0]}: rename a config')
        others = {path.stem: Variant(path) for path in configs}
        others |= ablations_of(full, args.variants or ())
        found = {'ablation': Suite(full, others, Length())}
    else:
        found = {name: SUITES[name] for name in args.suite}
    for name, suite in found.items():
        if args.suite and args.variants:
            suite = suite._replace(others={k: suite.others[k] for k in args.variants})
        length = suite.length
        if args.epochs is not None or args.seconds is not None:
            length = Length(args.epochs, args.seconds)
        found[name] = suite._replace(
            length=length,
            seeds={} if args.seeds else suite.seeds,
            every=tuple(args.seeds) if args.seeds else suite.every,
            options={**suite.options, **(args.cfg_options or {})},
        )
    return found


def prepare(
    variant: Variant, options: Mapping, length: Length, seed: int, folder: Path
) -> 'Runner':
    """A runner without validation, which tests the last weights."""
    import ablation_loop  # noqa: F401  registers TrainSteps
    from mmengine.runner import Runner

    from demul_mm.cli.launch import launch

    config = variant.load(options, str(folder))
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.default_hooks.checkpoint.save_best = None
    config.randomness = dict(config.get('randomness') or {}, seed=seed)
    config.experiment_name = f'{variant.name}_{folder.name}_{time.time_ns()}'
    config.resume, config.load_from = False, None
    if length.epochs is not None:
        config.train_cfg.max_epochs = length.epochs
    else:
        steps = length.steps
        assert steps is not None
        config.train_cfg = dict(type='TrainSteps', steps=steps)
        for scheduler in config.param_scheduler:
            scheduler.by_epoch = False
            scheduler.pop('convert_to_iter_based', None)
            if scheduler.type == 'LinearLR':
                scheduler.end = max(1, round(WARM_UP * steps))
    launch(config, 'none')
    runner = Runner.from_cfg(config)
    read_sentences(runner)
    return runner


def read_sentences(runner: 'Runner') -> None:
    """Run a frozen language model on all sentences, so that no variant is timed with it."""
    model = runner.model
    dataset = runner.build_dataloader(runner.cfg.train_dataloader).dataset
    if getattr(model.language.lm, 'frozen', False):
        model.language.lm.read_ahead(*model.data_preprocessor.tokenize(list(dataset.sentences())))


def time_steps(suite: Suite, work_dir: Path) -> None:
    """Time the training steps of all variants in turns, and keep how many fit into the seconds.

    In turns, so that other load on the machine affects all variants alike.
    """
    waiting = {}
    for name in suite.variants():
        kept = result_of(suite, name, 0, work_dir).parents[1] / 'steps.json'
        if not kept.is_file():
            waiting[name] = kept
    trainers = {}
    for name, kept in waiting.items():
        variant, folder = suite.variants()[name], kept.parent / 'timing'
        runner = prepare(variant, suite.options, Length(steps=1), 0, folder)
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        loader = runner.build_dataloader(runner.cfg.train_dataloader)
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        trainers[name] = (runner.model.train(), wrapper, batches)
    seconds: dict[str, list[float]] = {name: [] for name in waiting}
    for _, (name, (model, wrapper, batches)) in tqdm(
        list(itertools.product(range(TIMED_ROUNDS), trainers.items())), desc='timing', unit='turn'
    ):
        for step, batch in enumerate(itertools.islice(batches, TURN + 1)):
            start = time.process_time()
            model.train_step(batch, wrapper)
            if step:  # the first one finds the caches full of another model
                seconds[name].append(time.process_time() - start)
    for name, kept in waiting.items():
        # Without the first round. The first quartile: other load only ever slows a step down.
        usual = statistics.quantiles(seconds[name][TURN:], n=4)[0]
        steps = max(1, round(suite.length.seconds / usual))
        write_atomically(kept, json.dumps(dict(steps=steps, step_seconds=usual), indent=1))


def length_of(suite: Suite, folder: Path) -> Length:
    """How long a variant trains, in epochs or in the steps that were timed."""
    if suite.length.seconds is None:
        return suite.length
    return Length(steps=json.loads((folder / 'steps.json').read_text())['steps'])


def result_of(suite: Suite, name: str, seed: int, work_dir: Path) -> Path:
    """The file of a run's result; its folder is named by a hash of the settings."""
    variant = suite.variants()[name]
    settings = variant.load(suite.options, '.').pretty_text
    digest = hashlib.sha1(f'{tuple(suite.length)}\n{settings}'.encode()).hexdigest()[:8]
    return work_dir / f'{variant.name}_{digest}' / f'seed_{seed}' / 'result.json'


def run(suite: Suite, name: str, seed: int, work_dir: Path) -> dict:
    """Train and test one variant with one seed, or read its result."""
    result = result_of(suite, name, seed, work_dir)
    if not result.is_file():
        import ablation_loop

        length = length_of(suite, result.parents[1])
        runner = prepare(suite.variants()[name], suite.options, length, seed, result.parent)
        clock = ablation_loop.TrainingClock()
        runner.register_hook(clock)
        runner.train()
        metrics = runner.test()
        simulated = any(getattr(m, 'simulated', False) for m in runner.test_evaluator.metrics)
        done = dict(seconds=clock.seconds, simulated=simulated, commit=commit())
        epochs = runner.iter / len(runner.train_dataloader)
        write_atomically(result, json.dumps(dict(done, epochs=epochs, metrics=metrics), indent=1))
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
    from demul_mm.evaluation.tables import split_floors

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
    # The corpus metric counts known videos once more.
    columns = [key for key in next(iter(rows.values())) if not key.startswith('SVMR/')]
    lines = [
        '| | epochs | training s | ' + ' | '.join(columns) + ' |',
        '| --- |' + ' --- |' * (len(columns) + 2),
    ]
    ordered = sorted(beside, key=lambda title: not title.startswith('floor/'))
    for title, metrics in [*rows.items(), *((title, beside[title]) for title in ordered)]:
        runs = results.get(title)
        cells = [title]
        cells.append(spread([one['epochs'] for one in runs], 1) if runs else '')
        cells.append(spread([one['seconds'] for one in runs], 0) if runs else '')
        cells += [spread(metrics[key]) if key in metrics else '' for key in columns]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return lines


def document(results: Mapping[str, Sequence[Mapping]], command: str) -> str:
    """The page: how it was made, what its figures mean, and the table."""
    runs = [one for of_name in results.values() for one in of_name]
    commits = ', '.join(f'`{name}`' for name in sorted({one['commit'] for one in runs}))
    lines = ['# Ablations', '', f'Made by `{command}` at commit {commits}.']
    if any(one['simulated'] for one in runs):
        lines.append('**Simulated features**: no measure of accuracy on real videos.')
    lines += [
        'Mean ± sample standard deviation where a variant has several seeds. `training s` is',
        'processor time of one thread. The last weights are tested, not the best. Floors never',
        'read the sentence; an oracle ranks perfectly what its model returned. VR and VCMR fuse',
        'the best videos of the index (`num_fused`); the others follow as it ranks them.',
        '',
        *table(results),
        '',
    ]
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    suites = suites_of(args)
    results: dict[str, dict[str, dict[int, dict]]] = {
        name: {variant: {} for variant in suite.variants()} for name, suite in suites.items()
    }
    # The baselines with all seeds, then the others seed by seed: a run that is stopped has
    # something of each.
    jobs = sorted(
        (
            (name, variant, seed)
            for name, suite in suites.items()
            for variant in suite.variants()
            for seed in suite.seeds_of(variant)
        ),
        key=lambda job: (job[1] not in BASELINES, job[1] not in BASELINES and job[2]),
    )
    if args.only_kept:
        jobs = [
            (name, variant, seed)
            for name, variant, seed in jobs
            if result_of(suites[name], variant, seed, args.work_dir).is_file()
        ]
    else:
        for suite in suites.values():
            if suite.length.seconds is not None:
                time_steps(suite, args.work_dir)
    words = [word for word in sys.argv[1:] if word != '--only-kept']
    command = shlex.join(['python', 'benchmarks/ablation.py', *words])
    # Each worker is a process of its own, so that a run's time is its own.
    with ProcessPoolExecutor(args.jobs, get_context('spawn')) as pool:
        waiting: dict[Future, tuple[str, str, int]] = {
            pool.submit(run, suites[name], variant, seed, args.work_dir): (name, variant, seed)
            for name, variant, seed in jobs
        }
        try:
            for done in tqdm(as_completed(waiting), total=len(jobs), unit='run'):
                name, variant, seed = waiting[done]
                results[name][variant][seed] = done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for name, of_suite in results.items():
        ordered = {v: [runs[seed] for seed in sorted(runs)] for v, runs in of_suite.items() if runs}
        out = args.out or ROOT / 'docs' / 'ablation' / f'{name}.md'
        write_atomically(out, document(ordered, command))
        print(f'wrote {out}')


if __name__ == '__main__':
    run_tool(main)
