"""The sentences of the data sets, before the first step."""

import os
from collections.abc import Iterator
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from demul_mm.datasets import MomentDataset, PackedStore
from demul_mm.engine.models import unwrapped
from demul_mm.models.backbones.language_model import TransformersLM
from demul_mm.models.necks.aligned import AlignedStream
from demul_mm.registry import HOOKS
from demul_mm.truncation import warn_cut


class DatasetsHook(Hook):
    """Is shown the data sets of a run before the first step."""

    def before_train(self, runner: Runner) -> None:
        datasets = list(_moment_datasets(runner.train_dataloader.dataset))
        if runner.val_loop is not None:
            datasets += _moment_datasets(runner.val_dataloader.dataset)
        self.see(runner, datasets)

    def before_test(self, runner: Runner) -> None:
        self.see(runner, list(_moment_datasets(runner.test_dataloader.dataset)))

    def see(self, runner: Runner, datasets: list[MomentDataset]) -> None:
        """Do what there is to do with them."""
        raise NotImplementedError


@HOOKS.register_module()
class SentenceLengthHook(DatasetsHook):
    """Before training and testing, one line for each data set with sentences that are cut."""

    @master_only
    def see(self, runner: Runner, datasets: list[MomentDataset]) -> None:
        tokenizer = getattr(unwrapped(runner.model).data_preprocessor, 'tokenizer', None)
        for one in datasets:
            name = f'sentences of {one.metainfo["dataset_name"]} {one.split}'
            warn_cut(tokenizer, list(one.sentences()), name)


@HOOKS.register_module()
class SentenceEncoderHook(DatasetsHook):
    """Before training and testing, one line for each stream that meets sentences by mistake.

    The cosine of an ``AlignedStream`` means something where one encoder has read both sides. A
    packed store tells what made it, the language model has a name.
    """

    @master_only
    def see(self, runner: Runner, datasets: list[MomentDataset]) -> None:
        modules = list(unwrapped(runner.model).modules())
        readers = [m.name for m in modules if isinstance(m, TransformersLM)]
        aligned = {m.stream for m in modules if isinstance(m, AlignedStream) and not m.words}
        for one in datasets:
            for step in one.pipeline.transforms:
                store = getattr(step, 'store', None)
                if readers and isinstance(store, PackedStore) and step.stream in aligned:
                    _compare(store, step.stream, readers)


def _compare(store: PackedStore, stream: str, readers: list[str]) -> None:
    made_by = store.provenance.get('lm')
    if made_by is None or any(_same_model(made_by, name) for name in readers):
        return
    MMLogger.get_current_instance().warning(
        f'the stream {stream!r} in {store.path} was made with {made_by!r}, the sentences are read '
        f'with {", ".join(map(repr, readers))}: their likeness means nothing; make the stream anew '
        'or set model.language.lm.name'
    )


def _same_model(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


@HOOKS.register_module()
class ReadAheadHook(DatasetsHook):
    """Let a frozen language model read all sentences at once, each process its share of them.

    Step by step it would meet a few new sentences at a time, which costs as much as many, and
    every process would meet nearly all of them.
    """

    def see(self, runner: Runner, datasets: list[MomentDataset]) -> None:
        model = unwrapped(runner.model)
        readers = [m for m in model.modules() if isinstance(m, TransformersLM)]
        sentences = [text for one in datasets for text in one.sentences()]
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
