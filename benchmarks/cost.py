"""Training cost per query and peak memory of several configs, measured side by side.

Every config trains in a process of its own on the batches of its own pipeline; the processes take
turns, step by step, so that what else the machine does touches all alike. The first config is what
the others are compared with. Counted are steps (forward, backward, optimiser), not data loading.

Examples:
    python benchmarks/ablations.py configs/demul_demo.py dual_encoder work_dirs/dual_encoder.py
    python benchmarks/ablations.py configs/demul_demo.py plain_detector work_dirs/plain_detector.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/cost.py work_dirs/dual_encoder.py \\
        work_dirs/plain_detector.py configs/demul_demo.py --steps 20 \\
        --cfg-options data_root=work_dirs/demo/data/
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mmengine.config import DictAction
from tqdm import tqdm

from demul_mm.cli import load_config, run_tool, tool_parser
from demul_mm.files import write_atomically


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='+', help='the plainest first')
    parser.add_argument('--steps', type=int, default=20, help='timed (default: %(default)s)')
    parser.add_argument('--warm-up', type=int, default=5, help='steps (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='default: %(default)s')
    parser.add_argument('--out', metavar='FILE.md', help='write the table')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='for all configs')
    return parser.parse_args()


def peak() -> float:
    """The most resident memory so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Trainer:
    """A model that trains step by step.

    Args:
        config: path of the config.
        options: ``--cfg-options``.
    """

    def __init__(self, config: str, options: dict | None) -> None:
        from mmengine.runner import Runner

        from demul_mm.cli.launch import launch

        settings = load_config(config, options, tempfile.mkdtemp())
        settings.train_dataloader.num_workers = 0
        settings.train_dataloader.persistent_workers = False
        settings.log_level = 'WARNING'
        settings.experiment_name = f'cost_{time.time_ns()}'
        launch(settings, 'none')
        self.runner = Runner.from_cfg(settings)
        self.loader = Runner.build_dataloader(settings.train_dataloader, seed=0)
        self.optim = self.runner.build_optim_wrapper(settings.optim_wrapper)
        self.runner.model.train()
        self.batches = iter(self.loader)
        self.before = peak()

    def step(self) -> tuple[float, float, int]:
        """CPU and wall seconds of a step, and how many queries it learned from."""
        data = next(self.batches, None)
        if data is None:
            self.batches = iter(self.loader)
            data = next(self.batches)
        cpu, wall = time.process_time(), time.perf_counter()
        self.runner.model.train_step(data, optim_wrapper=self.optim)
        seconds = time.process_time() - cpu, time.perf_counter() - wall
        return (*seconds, sum(len(sample.queries) for sample in data['data_samples']))


def serve(pipe: Connection, config: str, options: dict | None, threads: int) -> None:
    """Train a step whenever asked to; tell the peak of memory at the end."""
    import torch

    torch.set_num_threads(threads)
    trainer = Trainer(config, options)
    parameters = sum(p.numel() for p in trainer.runner.model.parameters() if p.requires_grad)
    pipe.send(parameters)
    while pipe.recv() == 'step':
        pipe.send(trainer.step())
    pipe.send((peak(), peak() - trainer.before))


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The table: a row for each config."""
    context = multiprocessing.get_context('spawn')
    pipes, processes = [], []
    for config in args.configs:
        ours, theirs = context.Pipe()
        given = (theirs, config, args.cfg_options, args.threads)
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
    for i, (config, pipe, done) in enumerate(zip(args.configs, pipes, steps)):
        pipe.send('end')
        most, training = answer(i)
        cpu, wall, queries = (sum(column) for column in zip(*done))
        rows[Path(config).stem] = {
            'trained parameters (M)': parameters[i] / 1e6,
            'queries a step': queries / len(done),
            'CPU ms a query': 1000 * cpu / queries,
            'ms a query': 1000 * wall / queries,
            'peak MB': most,
            'of that training': training,
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
        title = f'# Training cost\n\n{args.steps} steps each, in turns, {args.threads} thread.\n\n'
        write_atomically(args.out, f'{title}{format_markdown(rows)}\n')


if __name__ == '__main__':
    run_tool(main)
