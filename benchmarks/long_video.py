"""Peak memory and time of localising queries in long videos, and how they grow with the length.

Each case runs in a process of its own, with a model of the config with fresh weights and random
features of that many clips of one second. Memory is how far the peak of resident memory exceeds
that after a short video, which loads all code. The config's pipeline is not used: videos are not
resampled to fewer clips.

Examples:
    python benchmarks/long_video.py configs/demul_tacos.py
    python benchmarks/long_video.py configs/demul_demo.py --clips 600 3600 --queries 4 \\
        --cfg-options model.test_cfg.max_pair_points=50000 --out work_dirs/long_video.md
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import peak_mb, timed
from tqdm import tqdm

from demul_mm.cli import load_config, run_tool, tool_parser
from demul_mm.cli.parser import Options
from demul_mm.files import write_atomically
from demul_mm.registry import MODELS

if TYPE_CHECKING:
    from demul_mm.models.localizers import DeMUL

SENTENCES = ('a person opens the door', 'the red disc leaves', 'two dogs run along the beach')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--clips',
        type=int,
        nargs='+',
        default=[600, 1800, 3600],
        help='lengths of the videos (default: %(default)s: 10 minutes to an hour)',
    )
    parser.add_argument('--queries', type=int, nargs='+', default=[4, 100])
    parser.add_argument('--threads', type=int, default=1, help='default: %(default)s')
    parser.add_argument('--out', metavar='FILE.md', help='write the table')
    parser.add_argument('--cfg-options', nargs='+', action=Options, default={})
    parser.add_argument('--only', help=argparse.SUPPRESS)  # one case: "clips queries"
    return parser.parse_args()


def predict(model: 'DeMUL', clips: int, queries: int) -> None:
    """Localise made-up queries in a made-up video, as testing does."""
    import torch

    from demul_mm.structures import MomentDataSample

    rng = torch.Generator().manual_seed(0)
    inputs = {
        name: [torch.randn(clips, tower.in_dim, generator=rng)]
        for name, tower in model.towers.items()
    }
    sample = MomentDataSample(metainfo=dict(video_id='v', duration=float(clips)))
    sample.queries = [f'{SENTENCES[i % len(SENTENCES)]} {i}' for i in range(queries)]
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=[sample]))
    (found,) = model.predict(data['inputs'], data['data_samples'])
    assert all(len(moments.scores) for moments in found.pred_moments)


def measure(args: argparse.Namespace) -> dict[str, float]:
    """One case, in this process."""
    import torch

    torch.set_num_threads(args.threads)
    clips, queries = map(int, args.only.split())
    model = MODELS.build(load_config(args.config, args.cfg_options).model).eval()
    predict(model, 64, 2)
    before = peak_mb()
    wall, cpu, _ = timed(lambda: predict(model, clips, queries))
    return {'peak MB': peak_mb() - before, 'seconds': wall, 'CPU seconds': cpu}


def run_case(clips: int, queries: int) -> dict[str, float]:
    """Measure a case in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], '--only', f'{clips} {queries}']
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def growth(rows: dict[tuple[int, int], dict[str, float]]) -> list[str]:
    """How much more the longest video costs than the shortest, for each number of queries."""
    lines = []
    for queries in dict.fromkeys(q for _, q in rows):
        lengths = sorted(clips for clips, q in rows if q == queries)
        first, last = rows[lengths[0], queries], rows[lengths[-1], queries]
        # A short video may not exceed the earlier peak, so memory has no ratio.
        parts = [f'{last["peak MB"] - first["peak MB"]:+.0f} MB']
        parts += [f'{last[k] / first[k]:.2f} x the {k}' for k in last if k != 'peak MB']
        lines.append(
            f'{queries} queries, {lengths[-1] / lengths[0]:g} x the clips: ' + ', '.join(parts)
        )
    return lines


def main() -> None:
    args = parse_args()
    if args.only:
        print(json.dumps(measure(args)))
        return
    from demul_mm.evaluation.tables import format_markdown, format_table

    cases = [(clips, queries) for queries in args.queries for clips in args.clips]
    rows = {case: run_case(*case) for case in tqdm(cases, unit='case')}
    named = {f'{clips} clips, {queries} queries': row for (clips, queries), row in rows.items()}
    print(format_table(named))
    print('\n'.join(growth(rows)))
    if args.out:
        lines = ['# Long videos', '', f'`python benchmarks/long_video.py {args.config}`, one '
                 f'process a case, {args.threads} thread.', '', format_markdown(named), '',
                 *(f'- {line}' for line in growth(rows)), '']  # fmt: skip
        write_atomically(Path(args.out), '\n'.join(lines))


if __name__ == '__main__':
    run_tool(main)
