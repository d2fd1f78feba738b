"""Score queries by whether their words, and pairs of words, occur in training.

Takes the predictions of one test, or the work dir of tools/cross_validate.py, where each fold has
its own training sentences (in its folder refit/ those of held-out videos, too). Each group is shown
with its best floor, since groups differ in difficulty.

Examples:
    python tools/analysis_tools/generalization.py configs/demul_charades_clip_cv.py \\
        work_dirs/demul_charades_clip_cv
    python tools/analysis_tools/generalization.py configs/demul_anet.py val_2.json --out new.md
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser

if TYPE_CHECKING:
    from mmengine.config import Config

    from demul_mm.evaluation.metrics import EntryMetric
    from demul_mm.evaluation.pooling import FoldRun
    from demul_mm.evaluation.predictions import PredictionEntry


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file: its training set, and its test metric')
    parser.add_argument(
        'predictions', type=Path, help='predictions file, or work dir of tools/cross_validate.py'
    )
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON, or as .md')
    add_config_options(parser)
    return parser.parse_args()


def parts(path: Path) -> Iterator[tuple['FoldRun | None', Path]]:
    """Predictions files, each with its run: those of the first seed of a cross-validation."""
    from demul_mm.evaluation.pooling import fold_runs

    if path.is_file():
        yield None, path
        return
    found = [(run, run.path / 'predictions.json') for run in fold_runs(path)]
    found = [(run, file) for run, file in found if file.is_file()]
    if not found:
        raise FileNotFoundError(f'{path} has no seed_*_fold_*/predictions.json, and is no file')
    yield from ((run, file) for run, file in found if run.seed == found[0][0].seed)


def training_sentences(config: 'Config', run: 'FoldRun | None') -> list[str]:
    """The queries that a run was trained on, those of held-out videos too if it is a refit.

    Raises:
        ValueError: it is a run of a cross-validation, but the training set has no folds.
    """
    from demul_mm.datasets.base import each_of
    from demul_mm.evaluation.floors import annotation_entries
    from demul_mm.registry import DATASETS

    dataset = config.train_dataloader.dataset.to_dict()
    for part in each_of(dataset):
        part['pipeline'] = []
        if run is not None:
            if not part.get('folds'):
                raise ValueError(
                    f'the training set of {config.filename} has no folds, but these are '
                    'predictions of a cross-validation: give its config, or one predictions file'
                )
            part['folds'] = dict(part['folds'], test=run.fold)
            if run.refit:
                part['subset'] = 'all'
    return [entry['query'] for entry in annotation_entries(DATASETS.build(dataset))]


def row(metric: 'EntryMetric', key: str, entries: list['PredictionEntry']) -> dict[str, float]:
    """The metric of a group, the interval of its ``key`` value, and that of the best floor."""
    from demul_mm.evaluation.intervals import bootstrap, query_values
    from demul_mm.evaluation.rescore import score_entries
    from demul_mm.evaluation.tables import split_floors

    found = bootstrap(query_values([metric], entries))
    floors = split_floors(score_entries(metric, entries))
    means: dict[str, float] = {'queries': len(entries)}
    means |= {name: value['mean'] for name, value in found.items()}
    means |= {f'{key} {end}': found[key][end] for end in ('low', 'high')}
    best = max((v.get(key, 0.0) for k, v in floors.items() if k.startswith('floor/')), default=0.0)
    return {**means, f'{key} of the best floor': best}


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.novelty import GROUPS, KnownSentences
    from demul_mm.evaluation.predictions import load_predictions
    from demul_mm.evaluation.rescore import check_truth, own_video_metric
    from demul_mm.evaluation.tables import format_table, write_tables

    config = load_config(args.config, args.cfg_options)
    metric, key = own_video_metric(config)
    MMLogger.get_current_instance().setLevel('WARNING')  # the table is printed below
    groups: dict[str, list[PredictionEntry]] = {name: [] for name in GROUPS}
    for run, file in parts(args.predictions):
        known = KnownSentences(training_sentences(config, run))
        scored = [entry for entry in load_predictions(file)[1] if entry['gt']]
        for name, entries in known.divide(scored).items():
            groups[name] += entries
    every = [entry for entries in groups.values() for entry in entries]
    check_truth(every, str(args.predictions))
    rows = {name: row(metric, key, entries) for name, entries in groups.items() if entries}
    rows['all'] = row(metric, key, every)
    title = 'Queries by what training has seen of their words, percent'
    print(f'\n{title}\n{format_table(rows)}')
    if args.out:
        write_tables(args.out, {'generalization': rows}, {'generalization': title})


if __name__ == '__main__':
    run_tool(main)
