"""Choosing some of the queries of a video."""

from collections.abc import Iterable

from demul_mm.datasets.transforms.random import rng_of
from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS

# What an item has for each of its queries; a pipeline need not set all of them.
QUERY_KEYS = ('queries', 'query_ids', 'gt_spans', 'hard_queries')


def select_queries(results: dict, chosen: Iterable[int]) -> dict[str, list]:
    """What ``results`` has for the queries ``chosen``, key by key, in new lists."""
    index = list(chosen)
    return {key: [results[key][i] for i in index] for key in QUERY_KEYS if key in results}


@TRANSFORMS.register_module()
class SampleQueries(Step):
    """Keep at most ``max_queries`` random queries of a video, in their order.

    Modified keys: ``queries``, ``query_ids``, ``gt_spans``, and ``hard_queries`` if it is there.

    Args:
        max_queries: at least 1.
    """

    def __init__(self, max_queries: int) -> None:
        if max_queries < 1:
            raise ValueError(f'max_queries={max_queries}: give at least 1')
        self.max_queries = max_queries

    def transform(self, results: dict) -> dict:
        count = len(results['queries'])
        if count > self.max_queries:
            chosen = rng_of(results).choice(count, size=self.max_queries, replace=False)
            results.update(select_queries(results, sorted(chosen)))
        return results
