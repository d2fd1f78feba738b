"""Measure how far the shared part hides its modality, and what the private part adds.

A linear classifier tells moments of videos from queries, by the shared and by the private part
(50 %: it cannot). Queries are then localised by the model as it is, with the private parts replaced
by their mean or by random others, and by the shared parts alone, as in the index. With
decoupler.bypass fusion also reads the output of the towers, which stays: replacing the private part
then removes what the decoupler adds, not all that is specific to a modality. In the work dir of a
cross-validation each run is measured on its own fold; localization is that of all queries together,
the rest is a mean over runs.

Examples:
    python tools/analysis_tools/decoupling_probe.py configs/demul_anet.py best.pth
    python tools/analysis_tools/decoupling_probe.py configs/demul_charades_clip_cv.py \\
        work_dirs/demul_charades_clip_cv
    python tools/analysis_tools/decoupling_probe.py CONFIG best.pth --out work_dirs/probe.json \\
        --cfg-options test_dataloader.dataset.max_videos=500
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from demul_mm.analysis.decoupling import Outcome
    from demul_mm.evaluation.predictions import PredictionEntry
    from demul_mm.pretraining.language import Tuning

SHOWN = ('R@1,IoU=0.5', 'R@1,IoU=0.7', 'mIoU')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file; its test data set is measured')
    parser.add_argument('checkpoint', help='its weights, or work dir of tools/cross_validate.py')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON, or as .md')
    parser.add_argument('--seed', type=int, default=0, help='of the random private parts')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    add_config_options(parser)
    return parser.parse_args()


def probe_rows(found: 'Outcome') -> dict[str, dict[str, float]]:
    """How well a linear classifier tells the modality by each part."""
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
    """Recall of each variant, and the interval of its difference from the first."""
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


class Measured(NamedTuple):
    """The measurements of one run."""

    modality: dict[str, dict[str, float]]
    answers: dict[str, list['PredictionEntry']]
    retrieval: dict[str, float]


def checkpoints(path: str, tuning: 'Tuning | None') -> Iterator[tuple[Path, dict[str, Any]]]:
    """Checkpoints, each with the settings of the fold that it is tested on.

    Args:
        tuning: how the sentence encoder of each run was tuned, if it was.
    """
    from demul_mm.engine.checkpoint import chosen_checkpoint
    from demul_mm.evaluation.pooling import fold_runs

    if not Path(path).is_dir():
        yield Path(path), {}
        return
    found = {run: chosen_checkpoint(run.path) for run in fold_runs(Path(path))}
    if not any(found.values()):
        raise FileNotFoundError(f'{path} has no checkpoint in a seed_*_fold_*, and is no file')
    for run, checkpoint in found.items():
        if checkpoint is not None:
            tuned = tuning.options(run.first_path) if tuning else {}
            yield checkpoint, {'test_dataloader.dataset.folds.test': run.fold, **tuned}


def measure(config: Any, checkpoint: Path, args: argparse.Namespace) -> Measured:
    """Probe, localise and search with one model."""
    from demul_mm.analysis.decoupling import collect, shared_retrieval, without_private
    from demul_mm.analysis.encoding import split_loader
    from demul_mm.apis.loading import load_model
    from demul_mm.evaluation.rescore import check_truth

    model, _, _ = load_model(config, checkpoint, args.device)
    loader = split_loader(config)
    MMLogger.get_current_instance().setLevel('WARNING')  # the tables are printed below
    found = collect(model, tqdm(loader, desc='as it is'), args.seed)
    answers = {'as it is': found.whole}
    check_truth(found.whole, 'the test data set')
    ways = (('mean', 'private: the mean'), ('drawn', 'private: of others'))
    if not found.vectors.moment_private.shape[1]:
        print('The model has no private part (decoupler.private_dim is 0): the shared one alone.')
        ways = ()
    for how, title in ways:
        batches = tqdm(loader, desc=title)
        answers[title] = without_private(model, batches, found.vectors.pools, how, args.seed)
    answers['shared alone (the index)'] = found.shared_alone
    names = found.vectors.video_ids.tolist()
    batches = tqdm(loader, desc='retrieval')
    retrieval = shared_retrieval(model, batches, found.vectors.query_shared, names)
    return Measured(probe_rows(found), answers, retrieval)


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over runs."""
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.tables import format_table, write_tables
    from demul_mm.pretraining.language import Tuning

    tuning = Tuning.of(load_config(args.config, args.cfg_options))
    runs = [
        measure(load_config(args.config, {**(args.cfg_options or {}), **settings}), path, args)
        for path, settings in checkpoints(args.checkpoint, tuning)
    ]
    first = runs[0]
    answers = {name: [x for run in runs for x in run.answers[name]] for name in first.answers}
    tables = {
        'modality': {name: mean([run.modality[name] for run in runs]) for name in first.modality},
        'localization': localization_rows(answers),
        'retrieval': {'shared alone': mean([run.retrieval for run in runs])},
    }
    titles = {
        'modality': 'A linear classifier tells moments from queries, percent (chance: 50)',
        'localization': f'Moments of {len(answers["as it is"])} queries, percent; 95 % interval of '
        'the difference',
        'retrieval': 'The video of a query among all, percent',
    }
    for name, rows in tables.items():
        print(f'\n{titles[name]}\n{format_table(rows)}')
    if args.out:
        write_tables(args.out, tables, titles)


if __name__ == '__main__':
    run_tool(main)
