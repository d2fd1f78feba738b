"""Score a predictions file with any metric, for all queries and for groups of them.

Examples:
    python tools/analysis_tools/eval_metric.py work_dirs/anet/val_2.json
    python tools/analysis_tools/eval_metric.py x.json --metric MomentRecall --cfg-options iou_op=gt
    python tools/analysis_tools/eval_metric.py x.json --by length duration
    python tools/analysis_tools/eval_metric.py x.json --config configs/demul_didemo.py --out y.json
"""

import argparse
import difflib
import inspect
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger

from demul_mm.cli import load_config, run_tool, tool_parser
from demul_mm.cli.parser import Options
from demul_mm.files import write_atomically
from demul_mm.registry import METRICS

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric

    from demul_mm.evaluation.predictions import PredictionEntry


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('predictions', help='file written by tools/test.py --dump')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--metric', default='MomentRecall', help='registered name of the metric')
    which.add_argument('--config', help='take the metrics of the test_evaluator of this config')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        default={},
        metavar='KEY=VALUE',
        help='options of the metric (iou_op=gt topk=1,5), or of the config with --config',
    )
    parser.add_argument(
        '--by',
        choices=('length', 'duration', 'tags'),
        nargs='+',
        default=[],
        help='also score groups of queries, each with its own floors',
    )
    parser.add_argument('--out', help='write the numbers with all digits to this JSON file')
    return parser.parse_args()


def build_metrics(args: argparse.Namespace) -> Sequence['BaseMetric']:
    from demul_mm.evaluation.rescore import evaluator_metrics

    if args.config:
        return evaluator_metrics(load_config(args.config, args.cfg_options).test_evaluator)
    check_metric_options(args.metric, args.cfg_options)
    return [METRICS.build(dict(type=args.metric, **args.cfg_options))]


def check_metric_options(name: str, options: dict) -> None:
    """Refuse options that the metric does not have."""
    metric = METRICS.get(name)
    if metric is None:
        known = sorted(METRICS.module_dict)
        raise ValueError(f'there is no metric {name!r}; demul_mm has {", ".join(known)}')
    allowed = list(inspect.signature(metric.__init__).parameters)[1:]
    for key in options:
        if key.split('.')[0] not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f'did you mean {near[0]!r}?' if near else f'allowed: {", ".join(allowed)}'
            raise ValueError(f'--cfg-options: {name} has no option {key!r}; {hint}')


def score(metrics: Sequence['BaseMetric'], entries: list['PredictionEntry']) -> dict[str, float]:
    from demul_mm.evaluation.rescore import score_entries

    scored: dict[str, float] = {}
    for metric in metrics:
        scored.update(score_entries(metric, entries))
    return scored


def group_rows(groups: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Table rows: the model in each group, and below it the floors there."""
    from demul_mm.evaluation.tables import split_floors

    rows = {}
    for name, numbers in groups.items():
        kinds = split_floors(numbers)
        rows[name] = kinds.pop('model')
        rows.update({f'  {name}: {kind}': row for kind, row in kinds.items()})
    return rows


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.predictions import load_predictions
    from demul_mm.evaluation.rescore import group_entries
    from demul_mm.evaluation.tables import format_table, split_floors

    meta, entries = load_predictions(args.predictions)
    MMLogger.get_current_instance().setLevel('WARNING')  # the metrics' tables are printed below
    metrics = build_metrics(args)
    report = {'meta': meta, 'metrics': score(metrics, entries)}
    described = ', '.join(f'{key}: {value}' for key, value in meta.items())
    print(f'{args.predictions}: {len(entries)} queries ({described or "no meta information"})')
    print(format_table(split_floors(report['metrics'])))
    for by in args.by:
        groups = group_entries(entries, by)
        report[f'by_{by}'] = {
            name: {'queries': sum(bool(one['gt']) for one in part), **score(metrics, part)}
            for name, part in groups.items()
        }
        print(f'\nby {by}\n{format_table(group_rows(report[f"by_{by}"]))}')
    if args.out:
        write_atomically(args.out, json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
