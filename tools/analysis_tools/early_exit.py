"""Draw the time that early exit of fusion saves against the accuracy that it costs.

With `neck.early_exit` a pair skips the remaining fusion stages once its best probability reaches
the threshold. Times are those of fusion and head, without encoding videos and queries; thresholds
take turns on each batch, so that ratios do not depend on other load.

Examples:
    python benchmarks/ablations.py configs/demul_anet.py three_stages work_dirs/three_stages.py
    python tools/analysis_tools/early_exit.py work_dirs/three_stages.py best.pth
    python tools/analysis_tools/early_exit.py CONFIG best.pth --thresholds 0.5 0.7 0.9 \\
        --repeats 5 --out work_dirs/early_exit.png --json work_dirs/early_exit.json
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.files import write_atomically

if TYPE_CHECKING:
    from demul_mm.analysis.early_exit import ExitPoint


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file; its test data set is measured')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--thresholds',
        type=float,
        nargs='+',
        help='probabilities; 0: exit after the first stage; "never" is always measured '
        '(default: 0, .1 ... .9)',
    )
    parser.add_argument('--repeats', type=int, default=3, help='timed passes of each batch')
    parser.add_argument('--out', default='early_exit.png', help='picture (default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write the numbers as JSON')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    add_config_options(parser)
    return parser.parse_args()


def row_of(point: 'ExitPoint') -> dict[str, float]:
    return {
        **point.recall,
        'stages': point.stages,
        'time': point.time,
        'ms a query': 1000 * point.seconds,
    }


def name_of(point: 'ExitPoint') -> str:
    return 'never' if point.threshold is None else f'{point.threshold:g}'


def main() -> None:
    args = parse_args()
    from demul_mm.analysis.early_exit import THRESHOLDS, exit_curve
    from demul_mm.analysis.encoding import split_loader
    from demul_mm.apis.loading import load_model
    from demul_mm.evaluation.tables import format_table
    from demul_mm.visualization.charts import save_figure
    from demul_mm.visualization.curves import draw_exit_curve

    config = load_config(args.config, args.cfg_options)
    model, _, _ = load_model(config, args.checkpoint, args.device)
    MMLogger.get_current_instance().setLevel('WARNING')
    batches = tqdm(split_loader(config), unit='batch')
    points = exit_curve(model, batches, args.thresholds or THRESHOLDS, args.repeats)
    print(format_table({name_of(point): row_of(point) for point in points}))
    save_figure(draw_exit_curve(points, Path(args.config).stem), args.out)
    print(f'time: of fusion and head, as a share of "never"; picture: {args.out}')
    if args.json:
        rows = [dict(threshold=point.threshold, **row_of(point)) for point in points]
        write_atomically(args.json, json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    run_tool(main)
