"""What each part of a recipe is worth on real data: change it, test folds, compare in pairs.

Each config, as it is, without each part, and with each part of the method that it has off
(benchmarks/ablations.py), goes through tools/cross_validate.py and trains as long as the recipe
says. The gain or loss of a change is a mean over the same queries and seeds, with its 95 % interval
over videos. The same command resumes where it was stopped, and rewrites the page after each
variant. A change that does not apply to a recipe has no row.

Examples:
    python benchmarks/ablation_cv.py configs/demul_charades_clip_cv.py \\
        configs/demul_qvhighlights_captions_cv.py configs/demul_youcook2_transcripts_cv.py \\
        --folds 0 1 --seeds 0 1 --jobs 2
    python benchmarks/ablation_cv.py configs/demul_charades_clip_cv.py --variants no_reader
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations import ABLATIONS, LEFT_OUT, PUT_IN, ablate
from trials import cross_validate

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.files import write_atomically

if TYPE_CHECKING:
    from mmengine.config import Config

WHOLE = 'whole'
SHOWN = ('R@1,IoU=0.3', 'R@1,IoU=0.5', 'R@1,IoU=0.7', 'R@5,IoU=0.7', 'R1@0.5', 'R1@0.7')
SHOWN += ('mIoU', 'mAP', 'VR/R@1', 'VR/R@10')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='+', help='configs with folds')
    variants = (*LEFT_OUT, *PUT_IN)
    parser.add_argument(
        '--variants', nargs='+', choices=ABLATIONS, default=variants, help='default: %(default)s'
    )
    parser.add_argument('--folds', type=int, nargs='+', default=[0, 1], help='default: 0 1')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1], help='default: 0 1')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side; default: 1')
    parser.add_argument('--work-dir', default='work_dirs/ablation_cv', help='default: %(default)s')
    parser.add_argument('--out', metavar='FILE.md', help='default: page.md of the work dir')
    add_config_options(parser)
    return parser.parse_args()


def changed(path: str, variant: str, args: argparse.Namespace) -> 'Config | None':
    """The config with the change, or None where that changes nothing."""
    config = load_config(path, args.cfg_options)
    if variant != WHOLE:
        try:
            ablate(config, ABLATIONS[variant])
        except ValueError:
            return None
    return config


def train_and_test(config: 'Config', folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train and test the folds of a config, or resume that; return the report."""
    config.work_dir = None
    path = folder.with_suffix('.py')
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, config.pretty_text)
    return cross_validate(str(path), folder, args, {})


def difference(
    config: str, whole: Path, other: Path, seeds: Sequence[int]
) -> dict[str, str | float]:
    """Row of the table: what the change brings, in points, and how sure that is.

    Args:
        config: its test metrics count.
        whole, other: work dirs of tools/cross_validate.py.
        seeds: that count; the work dirs may hold others.
    """
    from demul_mm.evaluation.intervals import paired_bootstrap
    from demul_mm.evaluation.pooling import read_values
    from demul_mm.evaluation.rescore import evaluator_metrics

    metrics = evaluator_metrics(load_config(config).test_evaluator)
    first, second = (read_values(folder, metrics, seeds) for folder in (whole, other))
    report = paired_bootstrap(first, second)
    shown = {key: row for key, row in report.items() if key in SHOWN}
    if whole == other:
        return {key: row['first'] for key, row in shown.items()}
    return {
        key: f'{row["difference"]:+.1f} [{row["low"]:.1f}, {row["high"]:.1f}]'
        for key, row in shown.items()
    }


def page(tables: dict[str, dict[str, dict]], reports: dict[str, dict], command: str) -> str:
    """All tables in Markdown."""
    from demul_mm.evaluation.tables import format_markdown

    lines = [
        '# What each part is worth on real data',
        '',
        f'`{command}`. First row: the recipe, in percent. The others: one change of it each '
        '(`benchmarks/ablations.py`), and what that brings in points, with its 95 % interval by '
        'drawing videos, over the same queries and the mean of the seeds. Each variant trains as '
        'long as the recipe; checkpoint and calibration are chosen on held-out training videos.',
    ]
    for name, rows in tables.items():
        about = reports[name]
        lines += [
            '',
            f'## {name}',
            '',
            f'{about["queries"]:,} queries of {about["videos"]:,} videos, folds {about["folds"]}, '
            f'seeds {about["seeds"]}, trained on {about["train_queries"]:,.0f} queries, commit '
            f'`{about["commit"]}`.',
            '',
            format_markdown(rows),
        ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    if len({Path(path).stem for path in args.configs}) < len(args.configs):
        raise ValueError('two configs have one name: their runs would go into one folder')
    work_dir = Path(args.work_dir)
    out = Path(args.out) if args.out else work_dir / 'page.md'
    command = shlex.join(['python', 'benchmarks/ablation_cv.py', *sys.argv[1:]])
    tables: dict[str, dict[str, dict]] = {}
    reports: dict[str, dict] = {}
    for path in args.configs:
        name = Path(path).stem
        for variant in (WHOLE, *args.variants):
            config = changed(path, variant, args)
            if config is None:
                print(f'{name}: {variant} changes nothing of it')
                continue
            folder, whole = work_dir / name / variant, work_dir / name / WHOLE
            report = train_and_test(config, folder, args)
            tables.setdefault(name, {})[variant] = difference(path, whole, folder, args.seeds)
            reports.setdefault(name, report)
            write_atomically(out, page(tables, reports, command))
    print(out.read_text())


if __name__ == '__main__':
    run_tool(main)
