"""Measure whether a model looks at the video and reads the sentence.

It answers its test data set as it is, and then with the clips of each video shuffled, replaced by
those of another video, by noise, or by the mean clip of the split, and with the sentence of another
video. The loss shows how much the model relies on that input; floors never read the sentence. This
works for every method of this project, not for DeMUL alone.

Examples:
    python tools/analysis_tools/sanity_probes.py configs/demul_anet.py best.pth
    python tools/analysis_tools/sanity_probes.py configs/demul_charades_clip_cv.py best.pth \\
        --out work_dirs/sanity.md --cfg-options test_dataloader.dataset.folds.test=1
    python tools/analysis_tools/sanity_probes.py projects/ctrl/configs/ctrl_charades_clip_cv.py \\
        best.pth
"""

import argparse
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from demul_mm.evaluation.metrics import EntryMetric
    from demul_mm.evaluation.predictions import PredictionEntry

AS_IT_IS = 'as it is'


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file; its test data set is answered')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON, or as .md')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    add_config_options(parser)
    return parser.parse_args()


def table(
    answers: dict[str, list['PredictionEntry']], metric: 'EntryMetric', main_key: str
) -> dict[str, dict[str, float]]:
    """The scores of each variant, and the interval of its loss in the ``main_key`` value."""
    from demul_mm.evaluation.intervals import paired_bootstrap, query_values
    from demul_mm.evaluation.rescore import score_entries
    from demul_mm.evaluation.tables import split_floors

    whole = query_values([metric], answers[AS_IT_IS])
    rows: dict[str, dict[str, float]] = {}
    for name, entries in answers.items():
        change = paired_bootstrap(whole, query_values([metric], entries))
        rows[name] = {key: row['second'] for key, row in change.items()}
        if name != AS_IT_IS:
            rows[name] |= {f'{main_key} {key}': change[main_key][key] for key in ('low', 'high')}
    floors = split_floors(score_entries(metric, answers[AS_IT_IS]))
    shown = rows[AS_IT_IS]
    for name, floor in floors.items():
        if name.startswith('floor/'):
            rows[name] = {key: floor[key] for key in shown if key in floor}
    return rows


def main() -> None:
    args = parse_args()
    from demul_mm.analysis.encoding import answered_entries, split_loader
    from demul_mm.analysis.sanity import PROBES, probed
    from demul_mm.apis.loading import load_localizer
    from demul_mm.evaluation.rescore import check_truth, own_video_metric
    from demul_mm.evaluation.tables import format_table, write_tables

    config = load_config(args.config, args.cfg_options)
    metric, key = own_video_metric(config)
    model, _ = load_localizer(config, args.checkpoint, args.device)
    loader = split_loader(config)
    MMLogger.get_current_instance().setLevel('WARNING')  # the table is printed below
    answers = {}
    for name in (AS_IT_IS, *PROBES):
        batches = tqdm(loader if name == AS_IT_IS else probed(loader, name), desc=name)
        answers[name] = answered_entries(model, batches)
        check_truth(answers[name], 'the test data set')
    rows = table(answers, metric, key)
    title = (
        f'Moments of {len(answers[AS_IT_IS])} queries, percent; `low` and `high`: 95 % interval of '
        'the change, by drawing videos'
    )
    print(f'\n{title}\n{format_table(rows)}')
    if args.out:
        write_tables(args.out, {'sanity': rows}, {'sanity': title})


if __name__ == '__main__':
    run_tool(main)
