"""Which phrase of a query is where in a video."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from demul_mm.models.task_modules import phrase_map
from demul_mm.structures import MomentDataSample, PhraseMap, QueryEncoding, VideoEncoding

if TYPE_CHECKING:
    from demul_mm.models.localizers.demul import DeMUL


def explain_samples(
    model: 'DeMUL',
    videos: VideoEncoding,
    queries: QueryEncoding,
    data_samples: Sequence[MomentDataSample],
) -> None:
    """Fill ``pred_phrases`` of each data sample; row ``v`` of ``videos`` is sample ``v``'s.

    The rows of ``queries`` are the samples' queries, one sample after the other.
    """
    row = 0
    for v, sample in enumerate(data_samples):
        own = queries.select(torch.arange(row, row + len(sample.queries)))
        sample.pred_phrases = phrase_maps(
            model, videos.select(torch.tensor([v])), own, sample.queries
        )
        row += len(sample.queries)


@torch.no_grad()
def phrase_maps(
    model: 'DeMUL', video: VideoEncoding, queries: QueryEncoding, sentences: Sequence[str]
) -> list[PhraseMap]:
    """Explain ``Q`` sentences in one video.

    Args:
        model: the model that encoded both.
        video: one row.
        queries: the sentences' ``Q`` rows.
        sentences: as they were given.
    """
    tokenizer = model.data_preprocessor.tokenizer
    return [
        phrase_map(tokenizer, text, queries.select(torch.tensor([q])), clips)
        for q, (text, clips) in enumerate(zip(sentences, _phrase_clips(model, video, queries)))
    ]


def _phrase_clips(model: 'DeMUL', video: VideoEncoding, queries: QueryEncoding) -> Tensor:
    """How much each clip is like each phrase, ``(Q, K, T)``.

    What the clips attend to in the first fusion stage. Where that reads the sentence as one, or
    there is none, the cosine of phrase and clip in the shared space, which no loss asks for.
    """
    device, found = video.mask.device, None
    if model.neck is not None:
        rows = video.select(torch.zeros(len(queries.shared), dtype=torch.int64, device=device))
        points = model.points(model.padded_clips(video), device)
        found = model.neck.phrase_clips(rows, queries, points)
    if found is None:
        found = torch.einsum('qks,ts->qkt', queries.phrase_shared, video.shared[0])
    return found[..., : int(video.num_clips[0])]
