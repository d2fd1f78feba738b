"""One report of a cross-validation: the queries of all folds together."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from demul_mm.evaluation.intervals import QueryValues, bootstrap, mean_values, query_values
from demul_mm.evaluation.metrics import CorpusMomentMetric, EntryMetric
from demul_mm.evaluation.predictions import PredictionEntry, load_predictions
from demul_mm.evaluation.rescore import score_entries
from demul_mm.evaluation.tables import split_floors

Fold = Sequence[PredictionEntry]


class FoldRun(NamedTuple):
    """A run in a work dir of tools/cross_validate.py: its seed, the fold it tests, its folder."""

    seed: int
    fold: int
    path: Path

    @property
    def refit(self) -> bool:
        """Whether it is a second training, on the held-out videos too."""
        return self.path.parent.resolve().name == 'refit'

    @property
    def first_path(self) -> Path:
        """The folder of the first training, where what was tuned for both lies."""
        return self.path.parent.resolve().parent / self.path.name if self.refit else self.path


def fold_runs(work_dir: Path) -> list[FoldRun]:
    """The runs in a work dir, by seed and fold; none where there are none."""
    found = [
        (re.fullmatch(r'seed_(\d+)_fold_(\d+)', path.name), path)
        for path in work_dir.glob('seed_*_fold_*')
    ]
    return sorted(FoldRun(int(name[1]), int(name[2]), path) for name, path in found if name)


def pool(folds: Sequence[Fold]) -> list[PredictionEntry]:
    """The entries of all folds.

    Raises:
        ValueError: a query occurs in two folds.
    """
    entries = [entry for fold in folds for entry in fold]
    ids = [entry['query_id'] for entry in entries]
    if len(set(ids)) < len(ids):
        twice = next(query_id for query_id in ids if ids.count(query_id) > 1)
        raise ValueError(f'query {twice!r} was tested in two folds; were they divided alike?')
    return entries


def read_values(
    path: Path, metrics: Sequence[EntryMetric], seeds: Sequence[int] | None = None
) -> QueryValues:
    """The values of a predictions file, or the mean of those of a cross-validation's seeds.

    Args:
        path: predictions file, or work dir of tools/cross_validate.py.
        seeds: of a work dir; None: all that it has.
    """
    if not path.is_dir():
        files = [path]
    elif seeds is None:
        files = sorted(path.glob('seed_*.json'))
    else:
        files = [path / f'seed_{seed}.json' for seed in sorted(set(seeds))]
    if not files:
        raise FileNotFoundError(
            f'{path} has no seed_<number>.json; is it a work dir of tools/cross_validate.py, and '
            'is that done?'
        )
    return mean_values([query_values(metrics, load_predictions(file)[1]) for file in files])


def pooled_report(
    metrics: Sequence[EntryMetric], seeds: Sequence[Sequence[Fold]], rounds: int = 2000
) -> dict[str, dict[str, float]]:
    """Each metric over the queries of all folds, beside its floors.

    Args:
        seeds: for each training seed, the entries of its folds.
        rounds: draws of the bootstrap over videos.

    Returns:
        For each metric ``mean`` over queries and seeds, ``low`` and ``high`` (its 95 % interval
        over videos), ``seeds`` (standard deviation between seeds, where there are several), and
        what each floor and the oracle score; all in percent.
    """
    found = [query_values(metrics, pool(folds)) for folds in seeds]
    report = bootstrap(mean_values(found), rounds=rounds)
    for key, row in report.items():
        if len(seeds) > 1:
            row['seeds'] = 100 * float(
                np.std([np.nanmean(one.values[key]) for one in found], ddof=1)
            )
    beside = [_beside(metrics, folds) for folds in seeds]
    for name, row in beside[0].items():
        for key in row.keys() & report.keys():
            report[key][name] = float(np.mean([one[name][key] for one in beside]))
    return report


def mean_over_queries(
    folds: Sequence[Mapping[str, float]], queries: Sequence[int]
) -> dict[str, float]:
    """Figures of folds, each counted as often as the fold has queries."""
    return {
        key: float(np.average([fold[key] for fold in folds], weights=queries)) for key in folds[0]
    }


def _beside(metrics: Sequence[EntryMetric], folds: Sequence[Fold]) -> dict[str, dict[str, float]]:
    """Floors and oracles. Those of a corpus are of each fold, whose videos are its corpus."""
    scored: dict[str, Any] = {}
    for metric in metrics:
        if isinstance(metric, CorpusMomentMetric):
            parts = [score_entries(metric, fold) for fold in folds]
            scored.update(mean_over_queries(parts, [len(fold) for fold in folds]))
        else:
            scored.update(score_entries(metric, pool(folds)))
    rows = split_floors(scored)
    del rows['model']
    return rows
