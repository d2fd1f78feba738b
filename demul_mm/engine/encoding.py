"""The batches of a split, encoded with all that the encoders give."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from demul_mm.models.localizers import DeMUL
from demul_mm.models.localizers.pairs import own_pairs, true_spans
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

    Queries without a known moment are left out; of several moments that the clips show the first
    counts.
    """
    device = batch.owner.device
    spans, mask = true_spans(batch.samples, device)
    query = mask.any(1).nonzero()[:, 0]
    if not len(query):
        return query, query
    video = batch.owner[query]
    clips = batch.videos.num_clips[video][:, None]
    truth = spans[query, 0] * clips  # (n, 2)
    points = model.points(model.padded_clips(batch.videos), device)
    return query, points.best_cells(truth, batch.videos.mask[video])
