"""Stand-in clip features: a fixed function of the sentences about each second."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from demul_mm.datasets.simulation.text import PhraseEncoder
from demul_mm.structures import is_length


@dataclass(frozen=True)
class SimulationConfig:
    """Options of :class:`FeatureSimulator`.

    Attributes:
        dim: width of the features.
        seed: decides the fixed function and all draws.
        clip_seconds: seconds for each row, stretched where ``max_rows`` would be exceeded.
        max_rows: most rows for a video.
        parts: windows over the words of a sentence, shown one after the other.
        scene: strength of what stays the same throughout a video.
        noise: strength of the noise.
        noise_memory: correlation of the noise from one row to the next, in [0, 1).
        gain_spread: standard deviation of the logarithm of an event's strength.
        distractors: foreign events for each event of a video, on average.
        jitter: standard deviation of the shift of a boundary, in lengths of the event.
        ramp: length of the fade at a boundary, in lengths of the event.

    Raises:
        ValueError: one is out of its range.
    """

    dim: int = 256
    seed: int = 0
    clip_seconds: float = 1.0
    max_rows: int = 768
    parts: int = 4
    scene: float = 0.7
    noise: float = 2.5
    noise_memory: float = 0.9
    gain_spread: float = 0.6
    distractors: float = 1.2
    jitter: float = 0.16
    ramp: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (('dim', 4), ('max_rows', 1), ('parts', 1), ('seed', 0)):
            if getattr(self, name) < least:
                raise ValueError(f'{name}={getattr(self, name)}: give {least} or more')
        if not is_length(self.clip_seconds):
            raise ValueError(f'clip_seconds={self.clip_seconds}: give seconds above 0')
        if not 0 <= self.noise_memory < 1:
            raise ValueError(f'noise_memory={self.noise_memory}: give 0 or more, and less than 1')
        for name in ('scene', 'noise', 'gain_spread', 'distractors', 'jitter', 'ramp'):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f'{name}={getattr(self, name)}: give a number, 0 or more')


@dataclass
class Event:
    """Something that happens in a video.

    Attributes:
        spans: ``(G, 2)`` seconds; several are votes or occurrences.
        sentences: that describe it.
    """

    spans: np.ndarray
    sentences: tuple[str, ...]


class FeatureSimulator:
    """Makes features ``(T, dim)`` for the videos of a data set from their sentences.

    A row sums, over the events at its time, a random two-layer network of the embedding of the
    event's sentence, of the part of the sentence that the event has reached, and of its progress;
    plus a scene that fits the sentences of the video, events of other videos, and noise that is
    correlated in time and between channels. Sentences about the same span describe one event.

    The features of a video depend on the options, the video, and the sentences of the whole
    annotation file (from which distractors are drawn), not on which videos are made in what order.

    Args:
        items: all items of the data set (``video_id``, ``duration``, ``queries``, ``gt_spans``).
        config: options.
        encoder: embeds the sentences; must have ``config.parts`` parts.
    """

    def __init__(
        self, items: Sequence[dict], config: SimulationConfig, encoder: PhraseEncoder
    ) -> None:
        if encoder.parts != config.parts:
            raise ValueError(f'the encoder has {encoder.parts} parts, the config {config.parts}')
        self.config = config
        self.encoder = encoder
        self.items = {item['video_id']: item for item in items}
        # Foreign events: (video, sentence, share of its video that it takes).
        self._pool = [
            (item['video_id'], query, float(np.diff(spans[0])[0] / item['duration']))
            for item in items
            for query, spans in zip(item['queries'], item['gt_spans'])
            if len(spans)
        ]
        rng = np.random.default_rng([config.seed, 0])
        hidden = 2 * config.dim
        self._read = _matrix(rng, encoder.dim, hidden) * 2 * math.sqrt(encoder.dim)
        self._progress = _matrix(rng, 4, hidden)
        self._write = _matrix(rng, hidden, config.dim)
        self._scene = _matrix(rng, encoder.dim, config.dim) * math.sqrt(encoder.dim)
        self._mix = _matrix(rng, config.dim // 4, config.dim)

    def provenance(self) -> dict:
        """For the manifest of the features."""
        return {'made_by': 'demul_mm feature simulator', 'version': 1, **asdict(self.config)}

    def simulate(self, video_ids: Sequence[str]) -> Iterator[np.ndarray]:
        """The features ``(T, dim)`` float32 of each video, one after the other."""
        plans = [self._plan(self.items[video_id]) for video_id in video_ids]
        self.encoder.encode(
            text for own, foreign, _ in plans for event in own + foreign for text in event.sentences
        )
        for video_id, plan in zip(video_ids, plans):
            yield self._render(self.items[video_id], *plan)

    def _plan(self, item: dict) -> tuple[list[Event], list[Event], np.random.Generator]:
        """The events of a video and the foreign ones."""
        rng = np.random.default_rng(_seed_of(self.config.seed, item['video_id']))
        by_span: dict[bytes, list[int]] = {}
        for index, spans in enumerate(item['gt_spans']):
            if len(spans):
                by_span.setdefault(np.round(spans, 2).tobytes(), []).append(index)
        events = [
            Event(item['gt_spans'][group[0]], tuple(item['queries'][index] for index in group))
            for group in by_span.values()
        ]
        foreign = []
        mean = self.config.distractors * max(len(events), 1) if self._pool else 0
        for _ in range(rng.poisson(mean)):
            # A blend of two, so that no sentence of the data set is true of a wrong video.
            picks = [self._pool[index] for index in rng.integers(len(self._pool), size=2)]
            length = min(picks[0][2], 0.5) * item['duration']
            start = rng.uniform(0, item['duration'] - length)
            texts = tuple(text for video_id, text, _ in picks if video_id != item['video_id'])
            if len(texts) == 2:
                foreign.append(Event(np.array([[start, start + length]]), texts))
        return events, foreign, rng

    def _render(
        self, item: dict, events: list[Event], foreign: list[Event], rng: np.random.Generator
    ) -> np.ndarray:
        config = self.config
        rows = int(np.clip(round(item['duration'] / config.clip_seconds), 1, config.max_rows))
        cell = item['duration'] / rows
        times = (np.arange(rows) + 0.5) * cell
        total = np.zeros((rows, config.dim), dtype=np.float32)
        density = np.zeros(rows)
        for event in events + foreign:
            weight, progress = self._envelope(event.spans, times, cell, rng)
            weight = weight * math.exp(rng.normal(0, config.gain_spread))
            seen = np.flatnonzero(weight)
            total[seen] += weight[seen, None] * self._content(event, progress[seen])
            density += weight
        total /= np.sqrt(np.maximum(density, 1))[:, None]
        scene = self._scene_vector(events, rng)
        return (total + config.scene * scene + self._noise(rows, rng)).astype(np.float32)

    def _envelope(
        self, spans: np.ndarray, times: np.ndarray, cell: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The strength of an event and its progress at each time, both in [0, 1]."""
        weight = np.zeros(len(times))
        progress = np.zeros(len(times))
        for start, end in spans:
            length = end - start
            shift = np.clip(rng.normal(0, self.config.jitter, size=2), -0.3, 0.3) * length
            ramp = max(self.config.ramp * length, cell)
            low, high = start + shift[0], end + shift[1]
            rise = np.minimum(times - low, high - times) / ramp + 0.5
            inside = np.clip(rise, 0, 1)
            weight += inside
            progress += inside * np.clip((times - low) / (high - low), 0, 1)
        progress = progress / np.maximum(weight, 1e-9)
        return weight / max(weight.max(), 1.0), progress

    def _content(self, event: Event, progress: np.ndarray) -> np.ndarray:
        """The features of an event at each progress, ``(rows, dim)``."""
        parts = np.mean([self.encoder[text] for text in event.sentences], axis=0, dtype=np.float32)
        read = _unit(parts) @ self._read  # (1 + parts, hidden)
        place = np.clip(progress * self.config.parts - 0.5, 0, self.config.parts - 1)
        low = np.minimum(place.astype(int), self.config.parts - 2)
        share = (place - low)[:, None].astype(np.float32)
        local = read[1 + low] * (1 - share) + read[2 + low] * share
        angle = np.pi * progress.astype(np.float32)
        waves = np.stack([f(n * angle) for n in (1, 2) for f in (np.cos, np.sin)], axis=1)
        hidden = np.tanh(0.7 * read[:1] + 0.5 * local + waves @ self._progress)
        return hidden @ self._write * 2

    def _scene_vector(self, events: list[Event], rng: np.random.Generator) -> np.ndarray:
        own = rng.normal(size=self.config.dim)
        if not events:
            return own
        whole = np.mean([self.encoder[text][0] for e in events for text in e.sentences], axis=0)
        return 0.7 * own + 0.7 * np.tanh(_unit(whole[None])[0] @ self._scene)

    def _noise(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """Noise of unit variance: half of it shared between channels, all with a memory."""
        config = self.config
        white = rng.normal(size=(rows, config.dim))
        shared = rng.normal(size=(rows, len(self._mix))) @ self._mix
        noise = math.sqrt(0.5) * (white + shared)
        keep, fresh = config.noise_memory, math.sqrt(1 - config.noise_memory**2)
        for row in range(1, rows):
            noise[row] = keep * noise[row - 1] + fresh * noise[row]
        return config.noise * noise


def _matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Random weights that keep the variance of unit-variance inputs."""
    return (rng.normal(size=(rows, columns)) / math.sqrt(rows)).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _seed_of(seed: int, video_id: str) -> list[int]:
    digest = hashlib.sha256(video_id.encode()).digest()
    return [seed, *np.frombuffer(digest[:16], dtype='<u4').tolist()]
