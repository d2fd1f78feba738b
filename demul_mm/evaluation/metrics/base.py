"""What all moment metrics share: from data samples to entries, each query counted once."""

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from demul_mm.evaluation.predictions import PredictionEntry, entries_from_sample, merge_entries
from demul_mm.evaluation.tables import format_table


class EntryMetric(BaseMetric):
    """A metric that is computed from the entries of all queries at once.

    Of a :class:`~demul_mm.datasets.ConcatDataset`, each data set has its own table, and metrics
    named ``<data set> <split>/<metric>``.

    Args:
        collect_device: 'cpu' or 'gpu', where results of several ranks are gathered.
        prefix: put before each key, for configs in which two metrics report the same key.
        collect_dir: directory for gathering on the CPU; a temporary one by default.
    """

    default_prefix = ''

    def __init__(
        self,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.simulated = False  # of the last results: were their features simulated?
        self.part: str | None = None  # which data set they are of, where there are several

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the entries of a batch.

        Args:
            data_samples: ``MomentDataSample.to_dict()`` of each predicted sample.
        """
        for sample in data_samples:
            result = {
                'sample_idx': int(sample['sample_idx']),
                'simulated': bool(sample.get('simulated', False)),
                'dataset': sample.get('dataset'),
                'entries': entries_from_sample(sample),
            }
            self.results.append(result)

    def evaluate(self, size: int) -> dict:
        """Gather from all ranks and compute.

        ``size``, the number of samples, is not used to cut the gathered list, as mmengine does:
        that is only right when every rank saw its share in the order of the default sampler.
        """
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: list) -> dict[str, float]:
        parts = list(dict.fromkeys(result.get('dataset') for result in results))
        metrics: dict[str, float] = {}
        for part in parts:
            self.part = part if len(parts) > 1 else None
            own = [result for result in results if result.get('dataset') == part]
            self.simulated = any(result['simulated'] for result in own)
            found = self.compute_entries(merge_entries(own))
            metrics.update({f'{part}/{k}' if self.part else k: v for k, v in found.items()})
        return metrics

    @abstractmethod
    def compute_entries(self, entries: Sequence[PredictionEntry]) -> dict[str, float]:
        """The metric of entries in which each query occurs once.

        Returns:
            Metric name to value, in percent.
        """

    def query_values(self, entries: Sequence[PredictionEntry]) -> dict[str, np.ndarray]:
        """What each query adds to the metric, for intervals.

        Args:
            entries: predictions for Q queries, whose true moments are known.

        Returns:
            Metric name to ``(Q,)`` float64, NaN where the query is not counted; the mean over
            those that are is the metric.

        Raises:
            TypeError: the metric is not a mean over queries.
        """
        raise TypeError(f'{type(self).__name__} gives no value for each query')

    def beside(self, rows: Mapping[str, Mapping[str, float]], title: str) -> dict[str, float]:
        """The metrics of the row ``model``, and of each other as ``<row>/<metric>``.

        They are shown as a table, which says so if the features were simulated.
        """
        simulated = 'SIMULATED FEATURES, ' if self.simulated else ''
        title = f'{self.part}: {title}' if self.part else title
        MMLogger.get_current_instance().info(f'{simulated}{title}\n{format_table(rows)}')
        found = {f'{name}/{key}': v for name, row in rows.items() for key, v in row.items()}
        return {key.removeprefix('model/'): v for key, v in found.items()}

    def with_truth(self, entries: Sequence[PredictionEntry]) -> list[PredictionEntry]:
        """Drop queries without a known moment, and say how many there were."""
        known = [entry for entry in entries if entry['gt']]
        if len(known) < len(entries):
            MMLogger.get_current_instance().warning(
                f'{type(self).__name__}: {len(entries) - len(known)} of {len(entries)} queries '
                'have no true moment and are not counted'
            )
        return known
