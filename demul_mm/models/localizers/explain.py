"""How much each word of a query contributes to the score of each clip."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from demul_mm.models.localizers.pairs import chunk_pairs
from demul_mm.models.task_modules import PointGenerator
from demul_mm.structures import MomentDataSample, PhraseMap, VideoEncoding, as_names

if TYPE_CHECKING:
    from demul_mm.models.localizers.demul import DeMUL

WORD = re.compile(r"\w+(?:[-'’]\w+)*")


def explain_samples(
    model: 'DeMUL', videos: VideoEncoding, data_samples: Sequence[MomentDataSample]
) -> None:
    """Fill ``pred_phrases`` of each data sample; row ``v`` of ``videos`` is sample ``v``'s."""
    for v, sample in enumerate(data_samples):
        row = videos.select(torch.tensor([v], device=videos.mask.device))
        sample.pred_phrases = phrase_maps(model, row, sample.queries)


@torch.no_grad()
def phrase_maps(model: 'DeMUL', video: VideoEncoding, sentences: Sequence[str]) -> list[PhraseMap]:
    """Explain sentences in one video, by what each clip loses without a word.

    Every word in turn is taken out of its sentence, and the relevance of all clips is compared with
    and without it (erasure: Li, Monroe and Jurafsky, 2016). So it tells what the model does,
    whatever it is made of. A sentence of a single word is compared with the video's mean instead.
    """
    maps = []
    for sentence in as_names(sentences, 'sentences'):
        words = [found.span() for found in WORD.finditer(sentence)]
        without = [sentence[:start] + sentence[end:] for start, end in words]
        if len(words) == 1:
            whole = clip_relevance(model, video, [sentence])
            lost = whole - whole.mean()
        else:
            found = clip_relevance(model, video, [sentence, *without])
            lost = found[:1] - found[1:]
        texts = [sentence[start:end] for start, end in words]
        maps.append(PhraseMap(texts, lost.float().cpu()))
    return maps


def clip_relevance(model: 'DeMUL', video: VideoEncoding, sentences: Sequence[str]) -> Tensor:
    """Semantic logit of every clip for each of ``Q`` sentences, ``(Q, T)``.

    That of the first fusion stage, which visits all clips; of the shared space without one.
    """
    queries = model.encode_query(as_names(sentences, 'sentences'))
    length = model.padded_clips(video)
    clips = video._replace(  # the finest level alone: no stage carries anything across levels
        points=video.points[:, :, :length],
        private=video.private[:, :, :length],
        shared=video.shared[:, :length],
        spans=video.spans[:, :length],
        mask=video.mask[:, :length],
    )
    points = PointGenerator(1)(length, video.mask.device)
    logits = []
    for rows in chunk_pairs(len(sentences), length, model.max_pair_points):
        query = torch.arange(rows.start, rows.stop, device=video.mask.device)
        same = torch.zeros_like(query)
        near = model.similarity(clips, queries, same, query)
        logits.append(model.fuse(clips, queries, same, query, points, near).dense_logit)
    return torch.cat(logits)[:, : int(video.num_clips[0])]
