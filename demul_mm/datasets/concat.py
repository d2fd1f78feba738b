"""Several data sets in one, which are told apart at test."""

from collections import Counter
from collections.abc import Sequence

from mmengine.dataset import BaseDataset
from mmengine.dataset import ConcatDataset as _ConcatDataset

from demul_mm.datasets.samplers.seeded import SeededIndex
from demul_mm.registry import DATASETS


@DATASETS.register_module()
class ConcatDataset(_ConcatDataset):
    """Data sets one after the other, of whatever names and splits.

    Samples have ``dataset`` among their meta information, by which metrics give a table for each.

    Args:
        datasets: data sets, or their configs.
        lazy_init: see ``mmengine.dataset.ConcatDataset``.

    Raises:
        ValueError: there are none, or two have the same name and split.
    """

    def __init__(self, datasets: Sequence[BaseDataset | dict], lazy_init: bool = False) -> None:
        if not datasets:
            raise ValueError('ConcatDataset of no data sets: give at least one')
        built = [DATASETS.build(one) if isinstance(one, dict) else one for one in datasets]
        names = [f'{one.metainfo["dataset_name"]} {one.metainfo["split"]}' for one in built]
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise ValueError(
                f"{count} data sets of ConcatDataset are called {name!r}; give each a 'name', by "
                'which their results are told apart'
            )
        self.names = names
        keys = sorted({key for one in built for key in one.metainfo})
        super().__init__(built, lazy_init=lazy_init, ignore_keys=keys)

    @property
    def metainfo(self) -> dict:
        """``dataset_name`` and ``split`` of all."""
        keys = ('dataset_name', 'split')
        found = {key: dict.fromkeys(one.metainfo[key] for one in self.datasets) for key in keys}
        return {key: ' + '.join(values) for key, values in found.items()}

    def __getitem__(self, idx: int) -> dict:
        place, inner = self._get_ori_dataset_idx(int(idx))
        if isinstance(idx, SeededIndex):
            inner = SeededIndex(inner, idx.entropy)
        item = self.datasets[place][inner]
        # The number of an item says which one it is, when those of several processes are merged.
        item['data_samples'].set_metainfo(dict(sample_idx=int(idx), dataset=self.names[place]))
        return item
