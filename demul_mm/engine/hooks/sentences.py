"""The sentences of the data sets, before the first step."""

from collections.abc import Iterator
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.datasets import MomentDataset
from demul_mm.engine.models import unwrapped
from demul_mm.models.backbones.language_model import TransformersLM
from demul_mm.registry import HOOKS
from demul_mm.sentences import warn_cut


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
        tokenizer = getattr(unwrapped(runner.model).data_preprocessor, 'tokenizer', None)
        for one in _moment_datasets(dataset):
            name = f'sentences of {one.metainfo["dataset_name"]} {one.split}'
            warn_cut(tokenizer, list(one.sentences()), name)


@HOOKS.register_module()
class ReadAheadHook(Hook):
    """Let a frozen language model read all sentences at once, each process its share of them.

    Step by step it would meet a few new sentences at a time, which costs as much as many, and
    every process would meet nearly all of them.
    """

    def before_train(self, runner: Runner) -> None:
        datasets = [runner.train_dataloader.dataset]
        if runner.val_loop is not None:
            datasets.append(runner.val_dataloader.dataset)
        self._read(runner, datasets)

    def before_test(self, runner: Runner) -> None:
        self._read(runner, [runner.test_dataloader.dataset])

    def _read(self, runner: Runner, datasets: list) -> None:
        model = unwrapped(runner.model)
        readers = [m for m in model.modules() if isinstance(m, TransformersLM)]
        sentences = [
            text for d in datasets for one in _moment_datasets(d) for text in one.sentences()
        ]
        if readers and sentences:
            words = model.data_preprocessor.tokenize(sentences)
            for reader in readers:
                reader.read_ahead(*words)


def _moment_datasets(dataset: Any) -> Iterator[MomentDataset]:
    """Those that a data set is or is put together from."""
    if isinstance(dataset, MomentDataset):
        yield dataset
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for one in inner:
        if one is not None:
            yield from _moment_datasets(one)
