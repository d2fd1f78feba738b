"""Score predictions again: with any metric, and by groups."""

from collections.abc import Mapping, Sequence

from mmengine.evaluator import BaseMetric

from demul_mm.evaluation.metrics import CorpusMomentMetric, EntryMetric
from demul_mm.evaluation.predictions import PredictionEntry
from demul_mm.registry import METRICS

# Upper bound of each group (exclusive) and its name.
LENGTH_GROUPS = (
    (0.05, 'under 5 % of the video'),
    (0.2, '5 to 20 %'),
    (0.5, '20 to 50 %'),
    (float('inf'), '50 % and more'),
)
DURATION_GROUPS = (
    (30.0, 'video under 30 s'),
    (60.0, '30 to 60 s'),
    (180.0, '1 to 3 min'),
    (600.0, '3 to 10 min'),
    (float('inf'), '10 min and more'),
)


def score_entries(metric: BaseMetric, entries: Sequence[PredictionEntry]) -> dict[str, float]:
    """The metric of entries, the same as when they were predicted.

    Raises:
        TypeError: the metric does not compute from entries.
    """
    if not isinstance(metric, EntryMetric):
        raise TypeError(
            f'{type(metric).__name__} cannot score a predictions file; metrics of demul_mm can '
            '(MomentRecall, QVHighlightsMetric, DiDeMoMetric, CorpusMomentMetric)'
        )
    metric.results = [{'sample_idx': 0, 'simulated': False, 'entries': list(entries)}]
    return metric.evaluate(1)


def evaluator_metrics(evaluator: Mapping | Sequence[Mapping]) -> list[EntryMetric]:
    """The metrics of a config's ``test_evaluator``, but for those that only write a file."""
    configs = [evaluator] if isinstance(evaluator, Mapping) else evaluator
    return [METRICS.build(c) for c in configs if not c['type'].endswith('DumpPredictions')]


def check_truth(entries: Sequence[PredictionEntry], where: str) -> None:
    """Raise ValueError unless there is a query whose moment is known."""
    if not any(entry['gt'] for entry in entries):
        raise ValueError(f'no query of {where} has a known moment: there is nothing to score')


def own_video_metric(config: Mapping) -> tuple[EntryMetric, str]:
    """The metric of a whole config that does not search a corpus, and its key that counts most.

    That is the one by which the config chooses its checkpoint, or else the last.
    """
    metrics = evaluator_metrics(config['test_evaluator'])
    metric = next(m for m in metrics if not isinstance(m, CorpusMomentMetric))
    keys = list(metric.query_values([]))
    chosen = config.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
    return metric, chosen if chosen in keys else keys[-1]


GROUPINGS = {'length': LENGTH_GROUPS, 'duration': DURATION_GROUPS, 'tags': None}


def _groups_of(entry: PredictionEntry, by: str) -> list[str]:
    if by == 'tags':
        return list(entry.get('tags', ()))
    value = entry['duration']
    if by == 'length':
        lengths = [end - start for start, end in entry['gt']]
        if not lengths:
            return []
        value = sum(lengths) / len(lengths) / entry['duration']
    return [next(name for bound, name in GROUPINGS[by] or () if value < bound)]


def group_entries(entries: Sequence[PredictionEntry], by: str) -> dict[str, list[PredictionEntry]]:
    """Entries in named groups; an entry with several tags is in several.

    Args:
        by: 'length' (of the true moment, as part of the video), 'duration' (of the video), or
            'tags'.
    """
    if by not in GROUPINGS:
        raise ValueError(f'cannot group by {by!r}; allowed: {", ".join(GROUPINGS)}')
    groups: dict[str, list[PredictionEntry]] = {}
    for entry in entries:
        for name in _groups_of(entry, by):
            groups.setdefault(name, []).append(entry)
    if not groups:
        raise ValueError(f'no query has a group by {by!r}: the file has no {by}')
    bounds = GROUPINGS[by]
    order = [name for _, name in bounds] if bounds else sorted(groups)
    return {name: groups[name] for name in order if name in groups}
