"""Small generated corpora for the tests of the index."""

from collections.abc import Iterator, Sequence

import numpy as np

from demul_mm.index import MomentHits, VideoEntry

DIM = 32


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def make_entry(name: str, number: int, prefix: str = '') -> VideoEntry:
    """A video of 3 to 11 moments around 2 events; odd ones carry metadata."""
    rng = np.random.default_rng((sum(map(ord, prefix)), number))
    count = int(rng.integers(3, 12))
    events = rng.standard_normal((2, DIM))
    moments = events[rng.integers(0, 2, count)] + 0.7 * rng.standard_normal((count, DIM))
    spans = np.sort(rng.random((count, 2)) * 60, axis=1).astype(np.float32)
    metadata = None
    if number % 2:
        tags = [['news', 'sport'][number % 3 // 2], f'group{number % 5}']
        metadata = dict(date=f'2024-{1 + number % 12:02d}-01', tags=tags, views=number)
    return VideoEntry(name, unit(moments), spans, 60.0, metadata)


def make_entries(number: int, prefix: str = 'v') -> list[VideoEntry]:
    return [make_entry(f'{prefix}{i}', i, prefix) for i in range(number)]


def make_queries(number: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((number, DIM)))


class Source:
    """Entries by id, which remembers what it was asked for."""

    def __init__(self, entries: Sequence[VideoEntry]) -> None:
        self._entries = {entry.video_id: entry for entry in entries}
        self.loaded: list[str] = []

    def ids(self) -> list[str]:
        return list(self._entries)

    def load(self, video_ids: Sequence[str]) -> Iterator[VideoEntry]:
        for video_id in video_ids:
            self.loaded.append(video_id)
            yield self._entries[video_id]


def assert_same_hits(
    first: Sequence[MomentHits], second: Sequence[MomentHits], atol: float = 0.0
) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert a.video_ids == b.video_ids
        assert a.videos == b.videos
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=atol)
        np.testing.assert_allclose(a.video_scores, b.video_scores, rtol=0, atol=atol)
        np.testing.assert_array_equal(a.spans, b.spans)


def brute_force(
    entries: Sequence[VideoEntry], query: np.ndarray, number: int
) -> list[tuple[str, float, float, float]]:
    """The best moments by plain NumPy on the vectors as they were given."""
    rows = [
        (entry.video_id, *map(float, span), float(moment @ query))
        for entry in entries
        for moment, span in zip(entry.moments, entry.spans)
    ]
    return sorted(rows, key=lambda row: -row[3])[:number]
