"""Say at the start which sentences are longer than the model reads."""

from collections.abc import Iterator
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from demul_mm.datasets import MomentDataset
from demul_mm.models.task_modules.tokenizer import warn_cut
from demul_mm.registry import HOOKS


@HOOKS.register_module()
class SentenceLengthHook(Hook):
    """Before training and testing, one line for each data set with sentences that are cut."""

    def before_train(self, runner: Runner) -> None:
        self._check(runner, runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        self._check(runner, runner.test_dataloader.dataset)

    @master_only
    def _check(self, runner: Runner, dataset: Any) -> None:
        model = runner.model
        while is_model_wrapper(model) or hasattr(model, 'module'):
            model = model.module
        tokenizer = getattr(model.data_preprocessor, 'tokenizer', None)
        for one in _moment_datasets(dataset):
            name = f'sentences of {one.metainfo["dataset_name"]} {one.split}'
            warn_cut(tokenizer, list(one.sentences()), name)


def _moment_datasets(dataset: Any) -> Iterator[MomentDataset]:
    """Those that a data set is or is put together from."""
    if isinstance(dataset, MomentDataset):
        yield dataset
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for one in inner:
        if one is not None:
            yield from _moment_datasets(one)
