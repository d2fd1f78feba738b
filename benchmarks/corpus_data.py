"""Corpora for the index benchmark: synthetic ones, and trained vectors with distractors."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from demul_mm.index import VideoEntry
from demul_mm.index.vectors import VectorFolder

BLOCK = 1000


def unit(vectors: np.ndarray) -> np.ndarray:
    """L2-normalised, float32."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-9)).astype(np.float32)


@dataclass(frozen=True)
class Truth:
    """Query vectors ``(Q, S)`` and the moment that each is about."""

    vectors: np.ndarray
    video_ids: list[str]
    spans: np.ndarray  # (Q, 2) seconds


class Corpus(ABC):
    """An :class:`demul_mm.index.EntrySource` that makes its videos when they are asked for.

    Args:
        size: number of videos.
        seed: of everything.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.seconds = 0.0  # spent on making blocks in load()

    @abstractmethod
    def block(self, number: int) -> list[VideoEntry]:
        """Videos ``[number * BLOCK, (number + 1) * BLOCK)``, the same in every corpus size."""

    @abstractmethod
    def truth(self, number: int) -> Truth:
        """Queries about videos of this corpus."""

    def name(self, position: int) -> str:
        """Id of a video."""
        return f'{position:08d}'

    def ids(self) -> list[str]:
        """All videos."""
        return [self.name(i) for i in range(self.size)]

    def load(self, video_ids: Sequence[str]) -> Iterator[VideoEntry]:
        """Entries of videos, quick for ids in order."""
        held, number = [], -1
        for video_id in video_ids:
            position = int(video_id)
            if position // BLOCK != number:
                number = position // BLOCK
                start = time.perf_counter()
                held = self.block(number)
                self.seconds += time.perf_counter() - start
            yield held[position % BLOCK]

    def blocks(self) -> Iterator[list[VideoEntry]]:
        """All videos, a block at a time."""
        for start in range(0, self.size, BLOCK):
            yield self.block(start // BLOCK)[: self.size - start]

    def noisy_moments(self, number: int, limit: int) -> Truth:
        """Queries that are moments of the first ``limit`` videos, blurred to cosines .7 to .3."""
        rng = np.random.default_rng((self.seed, 1))
        # From 40 blocks, so that not all of the corpus must be made to ask about it.
        blocks = rng.integers(0, -(-limit // BLOCK), 40)[rng.integers(0, 40, number)] * BLOCK
        positions = np.sort(blocks + rng.integers(0, np.minimum(BLOCK, limit - blocks)))
        vectors, spans = [], []
        for entry in self.load([self.name(p) for p in positions]):
            which = rng.integers(len(entry.moments))
            noise = unit(rng.standard_normal(entry.moments.shape[1]))
            vectors.append(unit(entry.moments[which] + rng.uniform(1, 3) * noise))
            spans.append(entry.spans[which])
        return Truth(np.stack(vectors), [self.name(p) for p in positions], np.stack(spans))


class SyntheticCorpus(Corpus):
    """Videos of clips, and their moments at several scales; 10 clips and 20 moments by default.

    A video has 2 to 5 events, and in one clip a short one. An event is one of 4,000 concepts in 64
    topics, seen in its own way; clips add the video's scene and noise that lasts over clips.
    A moment is the mean of its clips, so that coarse moments mix events.

    Args:
        size: number of videos.
        seed: of everything.
        dim: S.
        clips: T.
        scales: (window, step) in clips.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        dim: int,
        clips: int = 10,
        scales: Sequence[tuple[int, int]] = ((1, 1), (2, 2), (4, 3), (8, 2)),
    ) -> None:
        super().__init__(size, seed)
        self.dim = dim
        self.clips = clips
        rng = np.random.default_rng((seed, 0))
        topics = unit(rng.standard_normal((64, dim)))
        own = unit(rng.standard_normal((4000, dim)))
        self._concepts = unit(0.7 * topics[rng.integers(0, 64, 4000)] + own)
        ends = [(s, s + w) for w, step in scales for s in range(0, clips - w + 1, step)]
        self._pool = np.zeros((len(ends), clips), np.float32)  # (M, T)
        for row, (start, end) in zip(self._pool, ends):
            row[start:end] = 1 / (end - start)
        self._spans = np.array(ends, np.float32) / clips

    def block(self, number: int) -> list[VideoEntry]:
        moments, durations, _ = self.arrays(number)
        return [
            VideoEntry(self.name(number * BLOCK + i), moments[i], self._spans * d, float(d))
            for i, d in enumerate(durations)
        ]

    def arrays(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A block: moments ``(V, M, S)``, durations ``(V,)``, clip of the short event ``(V,)``."""
        rng = np.random.default_rng((self.seed, 2, number))
        clips, short = self._clips(rng, BLOCK)
        return unit(self._pool @ clips), rng.uniform(20, 180, BLOCK).astype(np.float32), short

    def _clips(self, rng: np.random.Generator, videos: int) -> tuple[np.ndarray, np.ndarray]:
        def directions(*shape: int) -> np.ndarray:
            return unit(rng.standard_normal((*shape, self.dim), np.float32))

        events = 6  # the last one is the short one
        cuts = np.sort(rng.random((videos, events - 2)), axis=1)
        cuts[np.arange(events - 2) >= rng.integers(1, 5, videos)[:, None]] = 2
        middles = (np.arange(self.clips) + 0.5) / self.clips
        which = (middles[:, None] > np.sort(cuts, 1)[:, None]).sum(-1)  # (V, T)
        short = rng.integers(0, self.clips, videos)
        which[np.arange(videos), short] = events - 1
        seen = self._concepts[rng.integers(0, len(self._concepts), (videos, events))]
        seen = unit(seen + 0.6 * directions(videos, events))
        clips = np.take_along_axis(seen, which[..., None], 1) + 0.6 * directions(videos, 1)
        noise = directions(videos, self.clips)
        for t in range(1, self.clips):
            noise[:, t] = 0.7 * noise[:, t - 1] + 0.71 * noise[:, t]
        return clips + 0.6 * noise, short

    def truth(self, number: int) -> Truth:
        return self.noisy_moments(number, self.size)


class EnlargedCorpus(Corpus):
    """Trained vectors, and distractors made of them.

    The real videos come first. A distractor takes the first part of one real video and the rest of
    another, and moves every moment by half the difference of two real moments, the same pair for
    the whole video: directions and distances are those of the trained space.

    Args:
        size: number of videos in all.
        seed: of everything.
        folder: moment vectors, see :mod:`demul_mm.index.vectors`.
        queries: safetensors with ``queries (Q, S)`` and in the header ``truth``, a JSON list of
            ``[video id, start, end]``; None: blurred moments of the real videos.
    """

    def __init__(self, size: int, seed: int, folder: str, queries: str | None) -> None:
        super().__init__(size, seed)
        source = VectorFolder(folder)
        self._real = list(source.load(source.ids()))
        self._places = {v.video_id: i for i, v in enumerate(self._real)}
        self._pool = np.concatenate([v.moments for v in self._real]).astype(np.float32)
        self._queries = queries
        self.dim = self._pool.shape[1]
        if size < len(self._real):
            raise ValueError(f'{folder} holds {len(self._real)} videos, more than {size}')

    def block(self, number: int) -> list[VideoEntry]:
        rng = np.random.default_rng((self.seed, 2, number))
        return [self._video(number * BLOCK + i, rng) for i in range(BLOCK)]

    def _video(self, position: int, rng: np.random.Generator) -> VideoEntry:
        first, second = (self._real[i] for i in rng.integers(0, len(self._real), 2))
        cut = rng.uniform(0.2, 0.8)
        shift = self._pool[rng.integers(0, len(self._pool), 2)]
        if position < len(self._real):
            real = self._real[position]
            return VideoEntry(self.name(position), unit(real.moments), real.spans, real.duration)
        early = first.spans.mean(1) < cut * first.duration
        late = second.spans.mean(1) >= cut * second.duration
        late |= not (early.any() or late.any())  # never an empty video
        moments = np.concatenate([first.moments[early], second.moments[late]])
        scale = first.duration / second.duration
        spans = np.concatenate([first.spans[early], second.spans[late] * scale])
        moved = unit(moments + 0.5 * (shift[0] - shift[1]))
        return VideoEntry(self.name(position), moved, spans, first.duration)

    def truth(self, number: int) -> Truth:
        if self._queries is None:
            return self.noisy_moments(number, len(self._real))
        with safe_open(Path(self._queries), framework='numpy') as opened:
            vectors = opened.get_tensor('queries').astype(np.float32)[:number]
            truth = json.loads(opened.metadata()['truth'])[:number]
        return Truth(
            vectors,
            [self.name(self._places[video_id]) for video_id, _, _ in truth],
            np.array([span for _, *span in truth], np.float32),
        )
