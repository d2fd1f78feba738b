"""Draw a reliability diagram of predicted probabilities, and print the calibration error.

Examples:
    python tools/analysis_tools/calibration.py work_dirs/anet/val_2.json
    python tools/analysis_tools/calibration.py x.json --iou 0.7 --top 5 --out reliability.png
"""

import argparse
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('predictions', help='file written by tools/test.py --dump')
    parser.add_argument('--iou', type=float, default=0.5, help='least IoU of a right prediction')
    parser.add_argument('--top', type=int, default=1, help='predictions that count of each query')
    parser.add_argument('--bins', type=int, default=15)
    parser.add_argument('--out', help='picture; default: beside the predictions')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.predictions import load_predictions
    from demul_mm.evaluation.reliability import reliability, scores_and_hits
    from demul_mm.visualization.charts import draw_reliability, save_figure

    entries = load_predictions(args.predictions)[1]
    scores, hits = scores_and_hits(entries, iou=args.iou, top=args.top)
    table = reliability(scores, hits, num_bins=args.bins)
    out = args.out or Path(args.predictions).with_suffix('.reliability.png')
    save_figure(
        draw_reliability(table, title=f'{len(scores)} predictions, right: IoU ≥ {args.iou:g}'), out
    )
    print('  score   right   count')
    for confidence, accuracy, count in zip(table.confidence, table.accuracy, table.size):
        print(f'{confidence:7.3f} {accuracy:7.3f} {count:7d}')
    print(f'ECE {table.ece:.4f}, Brier {table.brier:.4f}; picture: {out}')


if __name__ == '__main__':
    run_tool(main)
