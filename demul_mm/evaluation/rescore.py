"""Score predictions again: with any metric, by groups, and one file against another."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from demul_mm.evaluation.metrics import EntryMetric
from demul_mm.evaluation.metrics.moment_recall import per_query
from demul_mm.evaluation.predictions import PredictionEntry, pad_entries

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

    Args:
        metric: one of demul_mm.
        entries: of one predictions file.

    Raises:
        TypeError: the metric does not compute from entries.
    """
    if not isinstance(metric, EntryMetric):
        raise TypeError(
            f'{type(metric).__name__} cannot score a predictions file; metrics of demul_mm can '
            '(MomentRecall, DiDeMoMetric, CorpusMomentMetric)'
        )
    metric.results = [{'sample_idx': 0, 'simulated': False, 'entries': list(entries)}]
    return metric.evaluate(1)


def _group_of(value: float, groups: Sequence[tuple[float, str]]) -> str:
    return next(name for bound, name in groups if value < bound)


def _by_length(entry: PredictionEntry) -> list[str]:
    lengths = [end - start for start, end in entry['gt']]
    if not lengths:
        return []
    return [_group_of(sum(lengths) / len(lengths) / entry['duration'], LENGTH_GROUPS)]


def _by_duration(entry: PredictionEntry) -> list[str]:
    return [_group_of(entry['duration'], DURATION_GROUPS)]


def _by_tags(entry: PredictionEntry) -> list[str]:
    return list(entry.get('tags', ()))


GROUPINGS: dict[str, Callable[[PredictionEntry], list[str]]] = {
    'length': _by_length,
    'duration': _by_duration,
    'tags': _by_tags,
}


def group_entries(entries: Sequence[PredictionEntry], by: str) -> dict[str, list[PredictionEntry]]:
    """Entries in named groups; an entry with several tags is in several.

    Args:
        entries: of one predictions file.
        by: 'length' (of the true moment, as part of the video), 'duration' (of the video), or
            'tags'.
    """
    if by not in GROUPINGS:
        raise ValueError(f'cannot group by {by!r}; allowed: {", ".join(GROUPINGS)}')
    groups: dict[str, list[PredictionEntry]] = {}
    for entry in entries:
        for name in GROUPINGS[by](entry):
            groups.setdefault(name, []).append(entry)
    if not groups:
        raise ValueError(f'no query has a group by {by!r}: the file has no {by}')
    bounds = {'length': LENGTH_GROUPS, 'duration': DURATION_GROUPS}.get(by)
    order = [name for _, name in bounds] if bounds else sorted(groups)
    return {name: groups[name] for name in order if name in groups}


def paired_bootstrap(
    first: Sequence[PredictionEntry],
    second: Sequence[PredictionEntry],
    topk: Sequence[int] = (1, 5),
    ious: Sequence[float] = (0.3, 0.5, 0.7),
    iou_op: str = 'ge',
    rounds: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """How much the second file scores above the first, and how sure that is.

    Whole videos are drawn with replacement, not queries: queries of one video stand or fall
    together, and drawing them apart would make the interval too narrow.

    Args:
        first, second: entries of the same queries.
        topk, ious, iou_op: as for :class:`MomentRecall`.
        rounds: how many times the videos are drawn.
        seed: of the draws.

    Returns:
        For each metric ``first``, ``second``, ``difference``, and ``low`` and ``high``, the 95 %
        interval of the difference; all in percent.

    Raises:
        ValueError: the files answer different queries.
    """
    a = {entry['query_id']: entry for entry in first if entry['gt']}
    b = {entry['query_id']: entry for entry in second if entry['gt']}
    if a.keys() != b.keys():
        raise ValueError(
            f'the files answer different queries: {len(a.keys() - b.keys())} are only in the '
            f'first, {len(b.keys() - a.keys())} only in the second'
        )
    ids = list(a)
    options = dict(topk=topk, ious=ious, iou_op=iou_op)
    values_a = _values([a[i] for i in ids], options)
    values_b = _values([b[i] for i in ids], options)
    videos, video_of = np.unique([a[i]['video_id'] for i in ids], return_inverse=True)
    sizes = np.bincount(video_of, minlength=len(videos))
    draws = np.random.default_rng(seed).multinomial(
        len(videos), np.full(len(videos), 1 / len(videos)), size=rounds
    )  # (rounds, V): how often each video is drawn
    drawn_queries = draws @ sizes  # (rounds,)
    report = {}
    for key in values_a:
        gain = np.bincount(video_of, values_b[key] - values_a[key], minlength=len(videos))
        low, high = np.percentile(draws @ gain / drawn_queries, [2.5, 97.5])
        mean_a, mean_b = values_a[key].mean(), values_b[key].mean()
        report[key] = {
            'first': 100 * float(mean_a),
            'second': 100 * float(mean_b),
            'difference': 100 * float(mean_b - mean_a),
            'low': 100 * float(low),
            'high': 100 * float(high),
        }
    return report


def _values(entries: Sequence[PredictionEntry], options: Mapping) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in per_query(pad_entries(entries), **options).items()}
