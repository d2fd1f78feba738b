"""Compare two recipes on the same queries, with a paired bootstrap over videos.

Examples:
    python tools/analysis_tools/compare.py work_dirs/plain.json work_dirs/full.json
    python tools/analysis_tools/compare.py a.json b.json --topk 1 5 --ious 0.1 0.3 0.5 --iou-op gt
    python tools/analysis_tools/compare.py work_dirs/plain_cv work_dirs/full_cv \\
        --config configs/demul_charades_clip_cv.py
"""

import argparse
from pathlib import Path

from demul_mm.cli import load_config, run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    what = 'predictions file, or work dir of tools/cross_validate.py (the mean of its seeds)'
    parser.add_argument('first', type=Path, help=f'{what} to compare with')
    parser.add_argument('second', type=Path, help='another, whose gain over the first is reported')
    parser.add_argument('--config', help='take the metrics of the test_evaluator of this config')
    parser.add_argument('--topk', type=int, nargs='+', default=[1, 5])
    parser.add_argument('--ious', type=float, nargs='+', default=[0.3, 0.5, 0.7])
    parser.add_argument('--iou-op', choices=('ge', 'gt'), default='ge')
    parser.add_argument('--rounds', type=int, default=2000, help='bootstrap rounds')
    parser.add_argument('--seed', type=int, default=0, help='of the bootstrap')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.intervals import paired_bootstrap
    from demul_mm.evaluation.metrics import MomentRecall
    from demul_mm.evaluation.pooling import read_values
    from demul_mm.evaluation.rescore import evaluator_metrics
    from demul_mm.evaluation.tables import format_table

    if args.config:
        metrics = evaluator_metrics(load_config(args.config).test_evaluator)
    else:
        metrics = [MomentRecall(topk=args.topk, ious=args.ious, iou_op=args.iou_op)]
    first, second = (read_values(path, metrics) for path in (args.first, args.second))
    report = paired_bootstrap(first, second, rounds=args.rounds, seed=args.seed)
    print(format_table(report))
    print(f'low, high: 95 % interval of the difference, {args.rounds} draws of whole videos')


if __name__ == '__main__':
    run_tool(main)
