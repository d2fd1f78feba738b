"""The batches of a split, encoded with all that the encoders give."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from demul_mm.models.localizers import DeMUL
from demul_mm.models.localizers.pairs import own_pairs
from demul_mm.structures import MomentDataSample, QueryEncoding, VideoEncoding


class EncodedBatch(NamedTuple):
    """``V`` videos with their ``Q`` queries."""

    videos: VideoEncoding
    queries: QueryEncoding
    owner: Tensor  # (Q,) int64, the video of each query
    samples: list[MomentDataSample]


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
