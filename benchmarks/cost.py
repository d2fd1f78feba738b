"""Cost per query and peak memory of several configs, measured side by side.

Every config trains or tests in a process of its own on the batches of its own pipeline; the
processes take turns, step by step, so that other load on the machine affects all alike. The others
are compared with the first config. Steps are timed (in training forward, backward and optimiser)
without data loading. CHECKOUT:CONFIG runs a config of another checkout with that checkout's code,
to measure a change of the code.

Examples:
    python benchmarks/ablations.py configs/demul_demo.py dual_encoder work_dirs/dual_encoder.py
    python benchmarks/ablations.py configs/demul_demo.py plain_detector work_dirs/plain_detector.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/cost.py work_dirs/dual_encoder.py \\
        work_dirs/plain_detector.py configs/demul_demo.py --steps 20 \\
        --cfg-options data_root=work_dirs/demo/data/
    git worktree add ../before HEAD~1
    OMP_WAIT_POLICY=PASSIVE python benchmarks/cost.py ../before:configs/demul_demo.py \\
        configs/demul_demo.py --phase test
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from measuring import peak_mb
from tqdm import tqdm

from demul_mm.cli import run_tool, tool_parser
from demul_mm.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='+', help='[CHECKOUT:]CONFIG; the first is the reference')
    parser.add_argument('--phase', choices=('train', 'test'), default='train')
    parser.add_argument('--steps', type=int, default=20, help='timed steps (default: %(default)s)')
    parser.add_argument('--warm-up', type=int, default=5, help='untimed steps (default: 5)')
    parser.add_argument('--threads', type=int, default=1, help='default: %(default)s')
    parser.add_argument('--out', metavar='FILE.md', help='write the table')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='for all configs')
    return parser.parse_args()


def read_config(path: str, options: dict | None, work_dir: str) -> Any:
    """The config with its options, which are checked if the code is that of this checkout."""
    import demul_mm

    if Path(demul_mm.__file__).is_relative_to(ROOT):
        from demul_mm.cli import load_config

        return load_config(path, options, work_dir)
    from mmengine.config import Config

    config = Config.fromfile(path)
    config.merge_from_dict(options or {})
    config.work_dir = work_dir
    return config


class Worker:
    """A model that trains or tests step by step.

    Args:
        config: path of the config.
        options: ``--cfg-options``.
        phase: 'train' or 'test'.
        work_dir: folder for what a runner writes.
    """

    def __init__(self, config: str, options: dict | None, phase: str, work_dir: str) -> None:
        from mmengine.runner import Runner

        settings = read_config(config, options, work_dir)
        for loader in (settings.train_dataloader, settings.test_dataloader):
            loader.num_workers, loader.persistent_workers = 0, False
        settings.log_level = 'WARNING'
        settings.experiment_name = f'cost_{time.time_ns()}'
        self.runner = Runner.from_cfg(settings)
        self.training = phase == 'train'
        loader = settings.train_dataloader if self.training else settings.test_dataloader
        self.loader = Runner.build_dataloader(loader, seed=0)
        self.optim = self.runner.build_optim_wrapper(settings.optim_wrapper)
        self.runner.model.train(self.training)
        self.batches = iter(self.loader)
        self.before = peak_mb()

    def step(self) -> tuple[float, float, int]:
        """CPU and wall seconds of a step, and the number of its queries."""
        import torch

        data = next(self.batches, None)
        if data is None:
            self.batches = iter(self.loader)
            data = next(self.batches)
        cpu, wall = time.process_time(), time.perf_counter()
        if self.training:
            self.runner.model.train_step(data, optim_wrapper=self.optim)
        else:
            with torch.no_grad():
                self.runner.model.test_step(data)
        seconds = time.process_time() - cpu, time.perf_counter() - wall
        return (*seconds, sum(len(sample.queries) for sample in data['data_samples']))


def forget_code() -> None:
    """Undo imports, so that this process can run the code of another checkout."""
    ours = ('demul_mm', 'mmengine')  # mmengine holds the registries of demul_mm
    for name in [name for name in sys.modules if name.partition('.')[0] in ours]:
        del sys.modules[name]
    sys.meta_path[:] = [x for x in sys.meta_path if not type(x).__module__.startswith(ours)]


def serve(pipe: Connection, config: str, args: argparse.Namespace) -> None:
    """Run a step on each request, and send the peak of memory at the end."""
    checkout, _, path = config.rpartition(':')
    root = Path(checkout).resolve()
    if checkout:
        forget_code()
        sys.path.insert(0, str(root))
    import torch

    torch.set_num_threads(args.threads)
    path = str(root / path) if checkout else path
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        worker = Worker(path, args.cfg_options, args.phase, folder)
        trained = (p for p in worker.runner.model.parameters() if p.requires_grad)
        pipe.send(sum(p.numel() for p in trained))
        while pipe.recv() == 'step':
            pipe.send(worker.step())
        pipe.send((peak_mb(), peak_mb() - worker.before))


def row_names(configs: Sequence[str]) -> list[str]:
    """The names of rows: that of the config's file, after that of the checkout's folder."""
    found: dict[str, str] = {}
    for config in configs:
        checkout, _, path = config.rpartition(':')
        name = ': '.join([*([Path(checkout).resolve().name] if checkout else []), Path(path).stem])
        if name in found:
            raise ValueError(
                f'{found[name]} and {config} would both be the row {name!r}: rename a config, or '
                'the folder of a checkout'
            )
        found[name] = config
    return list(found)


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The table: a row for each config."""
    names = row_names(args.configs)
    context = multiprocessing.get_context('spawn')
    pipes, processes = [], []
    for config in args.configs:
        ours, theirs = context.Pipe()
        given = (theirs, config, args)
        processes.append(context.Process(target=serve, args=given, daemon=True))
        processes[-1].start()
        theirs.close()  # so that a process that dies is noticed
        pipes.append(ours)

    def answer(place: int) -> Any:
        try:
            return pipes[place].recv()
        except EOFError:
            processes[place].join()
            code = processes[place].exitcode
            raise RuntimeError(f'{args.configs[place]} ended with exit code {code}') from None

    parameters = [answer(i) for i in range(len(pipes))]
    steps: list[list[tuple[float, float, int]]] = [[] for _ in pipes]
    for number in tqdm(range(args.warm_up + args.steps), unit='step'):
        for i, (pipe, done) in enumerate(zip(pipes, steps)):
            pipe.send('step')
            step = answer(i)
            if number >= args.warm_up:
                done.append(step)
    rows: dict[str, dict[str, float]] = {}
    for i, (name, pipe, done) in enumerate(zip(names, pipes, steps)):
        pipe.send('end')
        most, working = answer(i)
        cpu, wall, queries = (sum(column) for column in zip(*done))
        rows[name] = {
            'trained parameters (M)': parameters[i] / 1e6,
            'queries a step': queries / len(done),
            'CPU ms a query': 1000 * cpu / queries,
            'ms a query': 1000 * wall / queries,
            'peak MB': most,
            'of that the steps': working,
        }
    for process in processes:
        process.join()
    first = next(iter(rows.values()))['CPU ms a query']
    for row in rows.values():
        row['CPU, times the first'] = row['CPU ms a query'] / first
    return rows


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.tables import format_markdown, format_table

    rows = measure(args)
    print(format_table(rows))
    if args.out:
        about = f'{args.steps} steps each, in turns, {args.threads} thread.'
        title = f'# Cost of {args.phase}ing\n\n{about}\n\n'
        write_atomically(args.out, f'{title}{format_markdown(rows)}\n')


if __name__ == '__main__':
    run_tool(main)
