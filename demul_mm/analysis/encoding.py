"""The test split of a config, and what a model answers there."""

from collections.abc import Iterable
from itertools import islice

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from demul_mm.engine.encoding import EncodedBatch
from demul_mm.evaluation.predictions import PredictionEntry, entries_from_sample
from demul_mm.models.localizers import DeMUL, MomentLocalizer


def split_loader(config: Config) -> DataLoader:
    """The loader of a config's test data set."""
    init_default_scope(config.get('default_scope') or 'demul_mm')
    return Runner.build_dataloader(config.test_dataloader, seed=0)


@torch.no_grad()
def localize_own(model: DeMUL, batch: EncodedBatch) -> list[InstanceData]:
    """The moments of each query in its own video, as ``DeMUL.predict`` gives them."""
    return model.localize_own(batch.videos, batch.queries, batch.samples)


def answered_entries(model: MomentLocalizer, batches: Iterable[dict]) -> list[PredictionEntry]:
    """What a model of any method answers in each query's own video, as metrics compute from it."""
    samples = (sample for batch in batches for sample in model.test_step(batch))
    return [entry for sample in samples for entry in entries_from_sample(sample.to_dict())]


def entries_of(batch: EncodedBatch, moments: list[InstanceData]) -> list[PredictionEntry]:
    """Moments of all queries of a batch as entries, which metrics compute from."""
    entries: list[PredictionEntry] = []
    rest = iter(moments)
    for sample in batch.samples:
        done = sample.clone()
        done.pred_moments = list(islice(rest, len(sample.queries)))
        entries += entries_from_sample(done.to_dict())
    return entries
