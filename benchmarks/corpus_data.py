"""Corpora for the index benchmark: synthetic ones, and trained vectors with distractors."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demul_mm.index import VideoEntry
from demul_mm.index.vectors import VectorFolder, read_queries

BLOCK = 1000


def unit(vectors: np.ndarray) -> np.ndarray:
    """L2-normalised, float32."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-9)).astype(np.float32)


@dataclass(frozen=True)
class CorpusVideo(VideoEntry):
    """A video whose first ``clips`` moments are those of the finest scale."""

    clips: int = 0


@dataclass(frozen=True)
class Truth:
    """Query vectors ``(Q, S)`` and the moment that each is about."""

    vectors: np.ndarray
    video_ids: list[str]
    spans: np.ndarray  # (Q, 2) seconds


class Corpus(ABC):
    """An :class:`demul_mm.index.EntrySource` that makes its videos on demand.

    Args:
        size: number of videos.
        seed: decides everything.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.seconds = 0.0  # spent on making blocks in load()

    @abstractmethod
    def block(self, number: int) -> list[CorpusVideo]:
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

    def load(self, video_ids: Sequence[str]) -> Iterator[CorpusVideo]:
        """Entries of videos, quick for ids in order."""
        held: list[CorpusVideo] = []
        number = -1
        for video_id in video_ids:
            position = int(video_id)
            if position // BLOCK != number:
                number = position // BLOCK
                start = time.perf_counter()
                held = self.block(number)
                self.seconds += time.perf_counter() - start
            yield held[position % BLOCK]

    def blocks(self) -> Iterator[list[CorpusVideo]]:
        """All videos, a block at a time."""
        for start in range(0, self.size, BLOCK):
            yield self.block(start // BLOCK)[: self.size - start]

    def noisy_moments(self, number: int, limit: int) -> Truth:
        """Queries that are moments of the first ``limit`` videos, blurred to cosines .7 to .3."""
        rng = np.random.default_rng((self.seed, 1))
        # From 40 blocks, so that few of them need be made.
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
        seed: decides everything.
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

    def block(self, number: int) -> list[CorpusVideo]:
        moments, durations, _ = self.arrays(number)
        clips = self.clips
        return [
            CorpusVideo(
                self.name(number * BLOCK + i), moments[i], self._spans * d, float(d), clips=clips
            )
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
    another, and moves every moment by ``shift`` times the difference of two real moments, the same
    pair for the whole video: directions and distances are those of the trained space. How like
    real videos they are to a query, :meth:`score_quantiles` says.

    Args:
        size: number of videos in all.
        seed: decides everything.
        folder: moment vectors, see :mod:`demul_mm.index.vectors`.
        queries: safetensors with ``queries (Q, S)`` and their truth, see
            :func:`demul_mm.index.vectors.write_queries`; None: blurred moments of the real videos.
        shift: by how much distractors are moved.
    """

    def __init__(
        self, size: int, seed: int, folder: str, queries: str | None, shift: float = 0.5
    ) -> None:
        super().__init__(size, seed)
        source = VectorFolder(folder)
        real = list(source.load(source.ids()))
        if size < len(real):
            raise ValueError(f'{folder} holds {len(real)} videos, more than {size}')
        self.real = len(real)
        self.shift = shift
        self._places = {v.video_id: i for i, v in enumerate(real)}
        self._queries = queries
        counts = np.array([len(v.moments) for v in real])
        clips = np.array([first_level(v) for v in real])
        self._starts = np.cumsum(counts) - counts  # (R,) where a video's moments start
        self._pool = unit(np.concatenate([v.moments for v in real]).astype(np.float32))  # (N, S)
        self._durations = np.array([v.duration for v in real], np.float32)
        shares = [v.spans / v.duration for v in real]
        self._shares = np.concatenate(shares).astype(np.float32)  # (N, 2) of the video
        self._coarse = np.concatenate([np.arange(n) >= c for n, c in zip(counts, clips)])
        # (R, M): the middles of a video's moments, NaN past its last one.
        self._middles = np.full((len(real), counts.max()), np.nan, np.float32)
        for row, share in zip(self._middles, shares):
            row[: len(share)] = share.mean(1)
        self.dim = self._pool.shape[1]

    def block(self, number: int) -> list[CorpusVideo]:
        rng = np.random.default_rng((self.seed, 2, number))
        first, second = rng.integers(0, self.real, (2, BLOCK))
        cut = rng.uniform(0.2, 0.8, (BLOCK, 1))
        here, there = self._pool[rng.integers(0, len(self._pool), (2, BLOCK))]
        move = self.shift * (here - there)  # (B, S)
        positions = number * BLOCK + np.arange(BLOCK)
        real = np.flatnonzero(positions < self.real)
        first[real], cut[real], move[real] = positions[real], np.inf, 0
        with np.errstate(invalid='ignore'):
            early, late = self._middles[first] < cut, self._middles[second] >= cut  # (B, M)
        late |= ~(early.any(1) | late.any(1))[:, None] & ~np.isnan(self._middles[second])
        return self._make(number, first, np.stack([first, second]), np.stack([early, late]), move)

    def _make(
        self,
        number: int,
        first: np.ndarray,
        sources: np.ndarray,
        keep: np.ndarray,
        move: np.ndarray,
    ) -> list[CorpusVideo]:
        """Videos from their two sources ``(2, B)`` and what of them is kept ``(2, B, M)``."""
        rows = self._starts[sources][..., None] + np.arange(keep.shape[2])
        owners = np.broadcast_to(np.arange(BLOCK)[:, None], keep.shape)[keep]
        rows = rows[keep]
        order = np.argsort(2 * owners + self._coarse[rows], kind='stable')  # clips come first
        rows, owners = rows[order], owners[order]
        moments = unit(self._pool[rows] + move[owners])
        spans = self._shares[rows] * self._durations[first][owners, None]
        ends = np.cumsum(np.bincount(owners, minlength=BLOCK))
        clips = np.bincount(owners, ~self._coarse[rows], BLOCK).astype(int)
        return [
            CorpusVideo(
                self.name(number * BLOCK + i),
                moments[start:end],
                spans[start:end],
                float(self._durations[first[i]]),
                clips=int(clips[i]),
            )
            for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends))
        ]

    def truth(self, number: int) -> Truth:
        if self._queries is None:
            return self.noisy_moments(number, self.real)
        vectors, _, truth, _ = read_queries(self._queries)
        if truth is None:
            raise ValueError(f'{self._queries} does not say what its queries are about')
        unknown = [video for video, *_ in truth if video not in self._places]
        if unknown:
            raise ValueError(f'{self._queries} asks about {unknown[0]!r}, which has no vectors')
        chosen = np.random.default_rng((self.seed, 3)).permutation(len(truth))[:number]
        return Truth(
            vectors[chosen],
            [self.name(self._places[truth[i][0]]) for i in chosen],
            np.array([truth[i][1:] for i in chosen], np.float32),
        )

    def score_quantiles(self, number: int) -> dict[str, float]:
        """Quantiles of a query's best score in a wrong video, for real videos and distractors.

        Where they are equal, a distractor is as hard as a real video.
        """
        truth = self.truth(number)
        entries = [e for n in range(-(-self.real // BLOCK) + 4) for e in self.block(n)]
        scores = np.concatenate(
            [(e.moments @ truth.vectors.T).max(0, keepdims=True) for e in entries]
        )  # (V, Q)
        names = np.array([e.video_id for e in entries])[:, None]
        scores[names == np.array(truth.video_ids)] = np.nan
        parts = dict(real=scores[: self.real], made=scores[self.real :])
        return {
            f'{part} {100 * q:g} %': float(np.nanquantile(values, q))
            for q in (0.5, 0.99, 0.999)
            for part, values in parts.items()
        }


def first_level(entry: VideoEntry) -> int:
    """How many of a video's first moments are of the finest level: those before time restarts."""
    middles = entry.spans.mean(1) / entry.duration
    back = np.flatnonzero(np.diff(middles) < -0.5)
    return int(back[0]) + 1 if len(back) else len(middles)
