"""Write what was predicted, so that it can be scored again, compared and drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger

from demul_mm.evaluation.metrics.base import EntryMetric
from demul_mm.evaluation.predictions import PredictionEntry, save_predictions
from demul_mm.registry import METRICS


@METRICS.register_module()
class DumpPredictions(EntryMetric):
    """Writes a predictions file (JSON) and reports no number.

    The file is written by the first rank only, under a temporary name first. Score it again with
    ``tools/analysis_tools/eval_metric.py``.

    Args:
        out_path: file to write; must end with ``.json``.
        meta: kept in the file, for instance the checkpoint. The data set's name, split and whether
            its features are simulated are added.
        collect_device, collect_dir: see :class:`EntryMetric`.
    """

    def __init__(
        self,
        out_path: str,
        meta: Mapping[str, Any] | None = None,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if not str(out_path).endswith('.json'):
            raise ValueError(f'out_path is {str(out_path)!r}; it must end with .json')
        self.out_path = str(out_path)
        self.meta = dict(meta or {})

    def compute_entries(self, entries: Sequence[PredictionEntry]) -> dict[str, float]:
        known = self.dataset_meta or {}
        names = {'dataset_name': 'dataset', 'split': 'split'}
        meta = {new: known[old] for old, new in names.items() if old in known}
        if self.simulated:
            meta['simulated'] = True
        path = self.out_path
        if self.part:  # a file for each data set, since their query ids may be the same
            meta['dataset'], meta['split'] = self.part.rsplit(' ', 1)
            path = f'{path.removesuffix(".json")}_{self.part.replace(" ", "_")}.json'
        save_predictions(path, entries, {**meta, **self.meta})
        MMLogger.get_current_instance().info(f'{len(entries)} predictions are written to {path}')
        return {}
