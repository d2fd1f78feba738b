"""Measure the answer "no such moment": queries asked of videos that do not hold their moment.

Each query of the test split is asked of its own video and of another one, none of whose captions is
similar to it. The answer is "no such moment" where a score is below a threshold: a detection in the
other video, a false alarm in its own. Two scores are compared: the calibrated probability of the
best moment, which presupposes that the video holds the moment, and `match`, how usual so low a
likeness of query and video is where it does (--no-match-threshold of tools/localize.py).

Examples:
    python tools/analysis_tools/no_match.py configs/demul_anet.py best.pth
    python tools/analysis_tools/no_match.py CONFIG best.pth --threshold 0.02 --too-alike 0.5 \\
        --json work_dirs/no_match.json --out work_dirs/no_match.png
"""

import argparse
import json
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.files import write_atomically

if TYPE_CHECKING:
    from demul_mm.analysis.no_match import NoMatchScores

FALSE_ALARMS = (0.05, 0.1, 0.2)


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file; its test data set is asked')
    parser.add_argument('checkpoint', help='its weights, calibrated')
    parser.add_argument(
        '--threshold',
        type=float,
        nargs='+',
        default=(0.05, 0.1, 0.2, 0.3, 0.5),
        help='thresholds to report (default: %(default)s)',
    )
    parser.add_argument(
        '--too-alike',
        type=float,
        default=0.7,
        help='a video with a caption whose cosine with the query exceeds this may hold its moment '
        'and is not asked (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the choice of other videos')
    parser.add_argument('--out', metavar='FILE.png', help='draw both distributions')
    parser.add_argument('--json', metavar='FILE', help='write the numbers as JSON')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    add_config_options(parser)
    return parser.parse_args()


def rows_of(scores: 'NoMatchScores', thresholds: list[float]) -> dict[str, dict[str, float]]:
    """A row for each score and threshold; last, for thresholds chosen on these queries."""
    from demul_mm.analysis.no_match import detection, threshold_for

    rows = {}
    for name in ('probability', 'match'):
        own, other = scores.own[name], scores.other[name]
        for limit in thresholds if len(set(own)) > 1 else []:
            rows[f'{name} below {limit:g}'] = detection(own, other, limit)
    for name in ('probability', 'likeness'):
        own, other = scores.own[name], scores.other[name]
        for share in FALSE_ALARMS:
            title = f'{name}, {100 * share:g} % false alarms here'
            rows[title] = detection(own, other, threshold_for(own, share))
    return rows


def main() -> None:
    args = parse_args()
    from demul_mm.analysis.encoding import split_loader
    from demul_mm.analysis.no_match import no_match_scores
    from demul_mm.apis.loading import load_model
    from demul_mm.evaluation.reliability import roc_auc
    from demul_mm.evaluation.tables import format_table
    from demul_mm.visualization.charts import save_figure
    from demul_mm.visualization.curves import draw_no_match

    config = load_config(args.config, args.cfg_options)
    model, _, _ = load_model(config, args.checkpoint, args.device)
    MMLogger.get_current_instance().setLevel('WARNING')
    scores = no_match_scores(model, tqdm(split_loader(config)), args.too_alike, args.seed)
    rows = rows_of(scores, args.threshold)
    auc = {name: roc_auc(scores.own[name], scores.other[name]) for name in scores.own}
    alike = int((scores.similarity > args.too_alike).sum())
    print(f'{len(scores.similarity)} queries, each in its own video and in one without its moment '
          f'(most alike caption there: {scores.similarity.mean():.2f} in the mean; above '
          f'--too-alike, for want of others: {alike})')  # fmt: skip
    if not int(model.calibrator.num_fitted):
        print('the calibrator was never fitted: probabilities are none')
    if len(set(scores.own['match'])) < 2:
        print('`match` was never fitted: it says nothing')
    print(format_table(rows))
    print(f'ROC-AUC: probability {auc["probability"]:.4f}, likeness {auc["likeness"]:.4f}')
    if args.out:
        save_figure(draw_no_match(scores.own, scores.other, auc), args.out)
    if args.json:
        report = dict(queries=len(scores.similarity), too_alike=args.too_alike, auc=auc, rows=rows)
        write_atomically(args.json, json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    run_tool(main)
