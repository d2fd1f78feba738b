"""Exhaustive clip scoring as in XML, and exact search on the original vectors."""

from typing import Any

import numpy as np
import torch
from corpus_data import Corpus
from measuring import percentiles, timed
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from demul_mm.index import MomentHits
from demul_mm.precision import choose_precision

TOP_VIDEOS = 100
# Clips that are scored at once, so that scores of a batch stay in the cache's reach.
CHUNK = 1 << 16


class ExhaustiveClips:
    """All clips of all videos in memory, scored for every query.

    As XML searches (Lei et al., "TVR", ECCV 2020): query times clips, the best clip is the video's
    score, and in the 100 best videos two small convolutions over the clip scores give start and
    end. XML's own contexts are eight times as wide (256 numbers for two streams, twice); this is
    the same search at our width, as fast as we could make it: bfloat16 where the hardware
    multiplies it, else float32; as many clips for every video, so that the best is a plain maximum
    (shorter videos repeat their last clip, longer ones lose theirs); the clip scores of the best
    videos are computed again, because keeping all of them costs more.

    Args:
        corpus: whose clips, the moments of the finest scale, are to be added by :meth:`add`.
    """

    def __init__(self, corpus: Corpus) -> None:
        counts = [entry.clips for entry in corpus.block(0)]
        self.width = int(np.median(counts))
        dtype = choose_precision('auto', 'cpu')
        self.clips = torch.empty(corpus.size, self.width, corpus.dim, dtype=dtype)
        self._filled = 0
        self._kernel = torch.tensor([[[-1.0, 0, 1, 0, 0]], [[0.0, 0, 1, 0, -1]]])  # start, end

    def add(self, entries: list) -> None:
        """Add a block of videos."""
        counts = np.array([entry.clips for entry in entries])
        moments = np.concatenate([entry.moments[: entry.clips] for entry in entries])
        places = np.minimum(np.arange(self.width), counts[:, None] - 1)
        rows = (np.cumsum(counts) - counts)[:, None] + places
        part = torch.from_numpy(moments[rows])  # (V, T, S)
        self.clips[self._filled : self._filled + len(entries)] = part
        self._filled += len(entries)

    def add_all(self, corpus: Corpus) -> None:
        """Add a whole corpus."""
        for entries in tqdm(corpus.blocks(), desc='clips', leave=False):
            self.add(entries)

    def search(self, queries: Tensor) -> Tensor:
        """Start and end scores in the best videos of each query ``(Q, videos, 2, T)``."""
        vectors = queries.to(self.clips.dtype)
        step = max(1, CHUNK // self.width)
        best = torch.cat(
            [
                (part.flatten(0, 1) @ vectors.T).view(len(part), self.width, -1).amax(1)
                for part in self.clips.split(step)
            ]
        )  # (V, Q)
        top = best.T.contiguous().topk(min(TOP_VIDEOS, len(best)), dim=1).indices  # (Q, videos)
        rows = torch.einsum('qvts,qs->qvt', self.clips[top], vectors).float()
        return F.conv1d(rows.reshape(-1, 1, self.width), self._kernel, padding=2).view(
            *top.shape, 2, -1
        )

    def measure(self, vectors: np.ndarray, batch: int) -> dict[str, Any]:
        """Latencies for one query and for a batch, and bytes of the clips."""
        measured: dict[str, Any] = dict(bytes=self.clips.nbytes, clips=self.width)
        for name, size, count in (('one', 1, 15), ('batch', batch, 4)):
            seconds = []
            for i in range(count + 1):
                part = np.take(vectors, range(i * size, (i + 1) * size), axis=0, mode='wrap')
                queries = torch.from_numpy(part)
                seconds.append(timed(lambda queries=queries: self.search(queries))[0])
            measured[name] = percentiles(seconds[1:])
        return measured


class _Best:
    """The best results of each query so far, and numbers that describe each.

    Args:
        queries: Q.
        number: results to keep.
        columns: numbers for each.
    """

    def __init__(self, queries: int, number: int, columns: int) -> None:
        self.scores = torch.full((queries, number), -torch.inf)
        self.known = torch.zeros(queries, number, columns, dtype=torch.float64)

    def offer(self, scores: Tensor, known: Tensor) -> None:
        """Keep the best of these, too: ``scores (Q, N)``, ``known (N, columns)``."""
        useful = (scores > self.scores[:, -1:]).any(0)
        scores, known = scores[:, useful], known[useful]
        number = self.scores.shape[1]
        top = torch.cat([self.scores, scores], 1).topk(number, dim=1)
        pool = torch.cat([self.known, known.expand(len(scores), -1, -1)], 1)
        self.scores = top.values
        self.known = pool.gather(1, top.indices[..., None].expand(-1, -1, pool.shape[2]))


def reference_moments(
    corpus: Corpus, vectors: np.ndarray, clips: ExhaustiveClips
) -> list[MomentHits]:
    """The 100 best moments of each query by the original vectors, not by the stored ones.

    Passes the corpus once and fills ``clips`` on the way.
    """
    queries = torch.from_numpy(vectors)
    moments, videos = _Best(len(queries), TOP_VIDEOS, 3), _Best(len(queries), 200, 1)
    done = 0
    for entries in tqdm(corpus.blocks(), desc='float32 exact', leave=False):
        clips.add(entries)
        scores = queries @ torch.from_numpy(np.concatenate([e.moments for e in entries])).T
        counts = np.array([len(e.moments) for e in entries])
        ordinals = np.arange(done, done + len(entries))
        spans = np.concatenate([e.spans for e in entries])
        moments.offer(scores, torch.from_numpy(np.c_[np.repeat(ordinals, counts), spans]))
        starts = np.cumsum(counts) - counts
        maxima = torch.from_numpy(np.maximum.reduceat(scores.numpy(), starts, axis=1))
        videos.offer(maxima, torch.from_numpy(ordinals[:, None].astype(np.float64)))
        done += len(entries)
    return [
        MomentHits(
            video_ids=[corpus.name(int(v)) for v in place[:, 0]],
            spans=place[:, 1:].numpy(),
            scores=score.numpy(),
            videos=[corpus.name(int(v)) for v in video],
            video_scores=video_score.numpy(),
            word_scores=np.zeros(len(video), np.float32),
            candidates=corpus.size,
        )
        for place, score, video, video_score in zip(
            moments.known, moments.scores, videos.known[..., 0], videos.scores
        )
    ]
