"""Choosing some of the queries of a video."""

from mmcv.transforms import BaseTransform

from demul_mm.datasets.transforms.random import rng_of
from demul_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SampleQueries(BaseTransform):
    """Keep at most ``max_queries`` random queries of a video, in their order.

    Modified keys: ``queries``, ``query_ids``, ``gt_spans``.

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
            for key in ('queries', 'query_ids', 'gt_spans'):
                results[key] = [results[key][index] for index in sorted(chosen)]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_queries={self.max_queries})'
