"""How sure a metric is: bootstrap intervals, of one set of predictions and of a gain."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.predictions import PredictionEntry

# Which part of the draws lies under the ends of an interval.
TAILS = (2.5, 97.5)


class QueryValues(NamedTuple):
    """What each of Q queries adds to some metrics.

    Attributes:
        query_ids: names of the queries.
        video_ids: the video that each belongs to.
        values: metric key to ``(Q,)`` float64; NaN where the metric does not count the query.
    """

    query_ids: list[str]
    video_ids: list[str]
    values: dict[str, np.ndarray]


def query_values(metrics: Sequence[EntryMetric], entries: Sequence[PredictionEntry]) -> QueryValues:
    """The values of all queries whose true moment is known, in the order of their ids."""
    known = sorted((entry for entry in entries if entry['gt']), key=lambda e: e['query_id'])
    values: dict[str, np.ndarray] = {}
    for metric in metrics:
        values.update(metric.query_values(known))
    return QueryValues(
        [entry['query_id'] for entry in known], [entry['video_id'] for entry in known], values
    )


def mean_values(seeds: Sequence[QueryValues]) -> QueryValues:
    """The mean over several trainings, query by query.

    Raises:
        ValueError: they answer different queries.
    """
    for other in seeds[1:]:
        check_same_queries(seeds[0], other)
    values = {key: np.mean([one.values[key] for one in seeds], 0) for key in seeds[0].values}
    return seeds[0]._replace(values=values)


def bootstrap(found: QueryValues, rounds: int = 2000, seed: int = 0) -> dict[str, dict[str, float]]:
    """The metrics and how sure they are.

    Whole videos are drawn with replacement, not queries: queries of one video stand or fall
    together, and drawing them apart would make the interval too narrow.

    Args:
        rounds: how many times the videos are drawn.

    Returns:
        For each metric that counts a query ``mean``, and ``low`` and ``high``, its 95 % interval;
        in percent.

    Raises:
        ValueError: there are no rounds.
    """
    draw = _Draws(found.video_ids, rounds, seed)
    report = {}
    for key, values in found.values.items():
        if np.isnan(values).all():
            continue
        low, high = draw.interval(values)
        report[key] = {'mean': 100 * float(np.nanmean(values)), 'low': low, 'high': high}
    return report


def paired_bootstrap(
    first: QueryValues, second: QueryValues, rounds: int = 2000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """How much the second scores above the first, and how sure that is; see :func:`bootstrap`.

    Args:
        first, second: values of the same queries.

    Returns:
        For each metric that counts a query in both ``first``, ``second``, ``difference``, and
        ``low`` and ``high``, the 95 % interval of the difference; all in percent.

    Raises:
        ValueError: they answer different queries, or there are no rounds.
    """
    check_same_queries(first, second)
    draw = _Draws(first.video_ids, rounds, seed)
    report = {}
    for key in (key for key in first.values if key in second.values):
        a, b = first.values[key], second.values[key]
        if np.isnan(b - a).all():
            continue
        low, high = draw.interval(b - a)
        mean_a, mean_b = np.nanmean(a), np.nanmean(b)
        report[key] = {
            'first': 100 * float(mean_a),
            'second': 100 * float(mean_b),
            'difference': 100 * float(mean_b - mean_a),
            'low': low,
            'high': high,
        }
    return report


def check_same_queries(first: QueryValues, second: QueryValues) -> None:
    """Raise ValueError unless both answer the same queries, each once."""
    for one in (first, second):
        for query_id, number in Counter(one.query_ids).items():
            if number > 1:
                raise ValueError(f'query {query_id!r} is answered twice in a file: it has no pair')
    a, b = set(first.query_ids), set(second.query_ids)
    if a != b:
        raise ValueError(
            f'the files answer different queries: {len(a - b)} are only in the '
            f'first, {len(b - a)} only in the second'
        )


class _Draws:
    """How often each video is drawn in each round."""

    def __init__(self, video_ids: Sequence[str], rounds: int, seed: int) -> None:
        if rounds < 1:
            raise ValueError(f'an interval of {rounds} draws; give 1 or more')
        videos, self.video_of = np.unique(video_ids, return_inverse=True)
        self.count = len(videos)
        self.draws = np.random.default_rng(seed).multinomial(
            self.count, np.full(self.count, 1 / self.count), size=rounds
        )  # (rounds, V)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Ends, in percent, of the 95 % interval of the mean of ``values (Q,)``.

        NaN where no draw has a video with a value, as may happen in a handful of draws.
        """
        counted = ~np.isnan(values)
        sums = np.bincount(self.video_of, np.where(counted, values, 0), minlength=self.count)
        sizes = np.bincount(self.video_of, counted, minlength=self.count)
        drawn = self.draws @ sizes  # (rounds,)
        if not drawn.any():
            return np.nan, np.nan
        means = (self.draws @ sums)[drawn > 0] / drawn[drawn > 0]
        low, high = 100 * np.percentile(means, TAILS)
        return float(low), float(high)
