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
from demul_mm.models.localizers import DeMUL, MomentLocalizer
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


def best_cells(model: DeMUL, batch: EncodedBatch) -> tuple[Tensor, Tensor]:
    """The cell whose own borders fit a true moment best: queries ``(n,)`` and cells ``(n,)``.

    Queries without a known moment are left out; of several moments the first counts.
    """
    device = batch.owner.device
    rows = [
        (q, spans[0] / sample.metainfo.get('extent', sample.duration))
        for q, (sample, spans) in enumerate((s, g) for s in batch.samples for g in s.gt_spans)
        if len(spans)
    ]
    query = torch.tensor([q for q, _ in rows], dtype=torch.int64, device=device)
    if not rows:
        return query, query
    video = batch.owner[query]
    clips = batch.videos.num_clips[video][:, None]
    truth = torch.stack([span for _, span in rows]).to(device) * clips  # (n, 2)
    points = model.points(model.padded_clips(batch.videos), device)
    return query, points.best_cells(truth, batch.videos.mask[video])


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
