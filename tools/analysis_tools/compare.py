"""Compare two predictions files of the same queries, with a paired bootstrap over videos."""

import argparse
import sys

from demul_mm.engine.cli import run_tool, tool_parser
from demul_mm.evaluation.predictions import load_predictions
from demul_mm.evaluation.rescore import paired_bootstrap
from demul_mm.evaluation.tables import format_table

EXAMPLES = """
  python tools/analysis_tools/compare.py work_dirs/plain.json work_dirs/full.json
  python tools/analysis_tools/compare.py a.json b.json --topk 1 5 --ious 0.1 0.3 0.5 --iou-op gt
"""


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__ or '', EXAMPLES)
    parser.add_argument('first', help='predictions file to compare with')
    parser.add_argument('second', help='predictions file whose gain is reported')
    parser.add_argument('--topk', type=int, nargs='+', default=[1, 5])
    parser.add_argument('--ious', type=float, nargs='+', default=[0.3, 0.5, 0.7])
    parser.add_argument('--iou-op', choices=('ge', 'gt'), default='ge')
    parser.add_argument('--rounds', type=int, default=2000, help='bootstrap rounds')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    report = paired_bootstrap(
        load_predictions(args.first)[1],
        load_predictions(args.second)[1],
        topk=args.topk,
        ious=args.ious,
        iou_op=args.iou_op,
        rounds=args.rounds,
        seed=args.seed,
    )
    print(format_table(report))
    print(f'low, high: 95 % interval of the difference, {args.rounds} draws of whole videos')


if __name__ == '__main__':
    sys.exit(run_tool(main))
