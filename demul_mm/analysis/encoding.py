"""The batches of a split, encoded with all that the encoders give."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils.data import DataLoader

from demul_mm.evaluation.predictions import PredictionEntry, entries_from_sample
from demul_mm.models.localizers import DeMUL
from demul_mm.models.localizers.pairs import own_pairs
from demul_mm.structures import MomentDataSample, QueryEncoding, VideoEncoding


class EncodedBatch(NamedTuple):
    """``V`` videos with their ``Q`` queries."""

    videos: VideoEncoding
    queries: QueryEncoding
    owner: Tensor  # (Q,) int64, the video of each query
    samples: list[MomentDataSample]


def split_loader(config: Config) -> DataLoader:
    """The loader of a config's test data set."""
    init_default_scope(config.get('default_scope') or 'demul_mm')
    return Runner.build_dataloader(config.test_dataloader, seed=0)


@torch.no_grad()
def encode_batches(model: DeMUL, batches: Iterable[dict]) -> Iterator[EncodedBatch]:
    """Encode collated batches, ``dict(inputs=..., data_samples=...)``; those without any query
    are left out.
    """
    for batch in batches:
        data = model.data_preprocessor(batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        if inputs['ids'] is None:
            continue
        videos = model.encode_video(inputs)
        queries = model.encode_tokens(inputs['ids'], inputs['word_mask'])
        owner = own_pairs([len(s.queries) for s in samples], videos.mask.device)
        yield EncodedBatch(videos, queries, owner, samples)


@torch.no_grad()
def localize_own(model: DeMUL, batch: EncodedBatch) -> list[InstanceData]:
    """The moments of each query in its own video, as ``DeMUL.predict`` gives them."""
    return model.localize_own(batch.videos, batch.queries, batch.samples)


def entries_of(batch: EncodedBatch, moments: list[InstanceData]) -> list[PredictionEntry]:
    """Moments of all queries of a batch as entries, which metrics compute from."""
    entries: list[PredictionEntry] = []
    rest = iter(moments)
    for sample in batch.samples:
        done = sample.clone()
        done.pred_moments = list(islice(rest, len(sample.queries)))
        entries += entries_from_sample(done.to_dict())
    return entries
