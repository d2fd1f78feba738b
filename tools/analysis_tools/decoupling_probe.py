"""Measure how far the shared part is free of its modality, and what the private part adds.

A linear classifier tells moments of videos from queries, by the shared and by the private part
(50 %: it cannot). Moments are then searched as the model is, with the private parts replaced by
their mean or by others drawn by chance, and by the shared parts alone, as the index does. The
features that fusion reads also hold what the towers made of the video, which stays: replacing the
private part removes what the decoupler adds, not all that only one modality says.

Examples:
    python tools/analysis_tools/decoupling_probe.py configs/demul_anet.py best.pth
    python tools/analysis_tools/decoupling_probe.py CONFIG best.pth --out work_dirs/probe.json \\
        --cfg-options test_dataloader.dataset.max_videos=500
"""

import argparse
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from demul_mm.analysis.decoupling import Outcome
    from demul_mm.evaluation.predictions import PredictionEntry

SHOWN = ('R@1,IoU=0.5', 'R@1,IoU=0.7', 'mIoU')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file; its test data set is measured')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON, or as .md')
    parser.add_argument('--seed', type=int, default=0, help='of the drawn private parts')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    add_config_options(parser)
    return parser.parse_args()


def probe_rows(found: 'Outcome') -> dict[str, dict[str, float]]:
    """What a linear classifier sees in each part."""
    from demul_mm.analysis.decoupling import modality_probe

    v = found.vectors
    parts = dict(
        shared=(v.moment_shared, v.query_shared), private=(v.moment_private, v.query_private)
    )
    return {
        name: modality_probe(moments, queries, v.video_ids)
        for name, (moments, queries) in parts.items()
        if moments.shape[1]  # the private part may be switched off
    }


def localization_rows(
    answers: dict[str, list['PredictionEntry']],
) -> dict[str, dict[str, float]]:
    """Recall of each way to answer, and how sure it is that it differs from the first."""
    from demul_mm.evaluation.intervals import paired_bootstrap, query_values
    from demul_mm.evaluation.metrics import MomentRecall
    from demul_mm.evaluation.tables import split_floors

    metric = MomentRecall(topk=(1,), ious=(0.5, 0.7))
    whole = next(iter(answers.values()))
    rows: dict[str, dict[str, float]] = {}
    for name, entries in answers.items():
        scored = split_floors(metric.compute_entries(entries))
        rows[name] = {key: scored['model'][key] for key in SHOWN}
        if entries is whole:
            floors = {k: v for k, v in scored.items() if k.startswith('floor/')}
            continue
        values = (query_values([metric], part) for part in (whole, entries))
        change = paired_bootstrap(*values)['R@1,IoU=0.7']
        rows[name].update({f'{key} (.7)': change[key] for key in ('difference', 'low', 'high')})
    return {**rows, **{name: {key: row[key] for key in SHOWN} for name, row in floors.items()}}


def main() -> None:
    args = parse_args()
    from demul_mm.analysis.decoupling import collect, shared_retrieval, without_private
    from demul_mm.analysis.encoding import split_loader
    from demul_mm.apis.loading import load_model
    from demul_mm.evaluation.tables import format_table, write_tables

    config = load_config(args.config, args.cfg_options)
    model, _, _ = load_model(config, args.checkpoint, args.device)
    loader = split_loader(config)
    MMLogger.get_current_instance().setLevel('WARNING')  # the tables are printed below
    found = collect(model, tqdm(loader, desc='as it is'), args.seed)
    pools = found.vectors.pools
    answers = {'as it is': found.whole}
    ways = (('mean', 'private: the mean'), ('drawn', 'private: of others'))
    if not found.vectors.moment_private.shape[1]:
        print('The model has no private part (decoupler.private_dim is 0): the shared one alone.')
        ways = ()
    for how, title in ways:
        answers[title] = without_private(model, tqdm(loader, desc=title), pools, how, args.seed)
    answers['shared alone (the index)'] = found.shared_alone
    tables = {
        'modality': probe_rows(found),
        'localization': localization_rows(answers),
        'retrieval': {
            'shared alone': shared_retrieval(
                model, tqdm(loader, desc='retrieval'), found.vectors.query_shared,
                found.vectors.video_ids.tolist(),
            )
        },
    }  # fmt: skip
    titles = {
        'modality': 'A linear classifier tells moments from queries, percent (chance: 50)',
        'localization': f'Moments of {len(found.whole)} queries, percent; 95 % interval of the '
        'difference',
        'retrieval': 'The video of a query among all, percent',
    }
    for name, rows in tables.items():
        print(f'\n{titles[name]}\n{format_table(rows)}')
    if args.out:
        write_tables(args.out, tables, titles)


if __name__ == '__main__':
    run_tool(main)
