"""Random changes to a training video and its sentences.

They belong between loading and resampling. Those that change time move all streams, the moments,
the extent and the duration together, and never lose a video's last query.
"""

import numpy as np

from demul_mm.datasets.transforms.random import rng_of
from demul_mm.datasets.transforms.sample_queries import select_queries
from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS


def warp_time(results: dict, old: np.ndarray, new: np.ndarray, min_inside: float = 0.0) -> dict:
    """Move the time of a video: what was at ``old[k]`` is at ``new[k]``, linear in between.

    Each stream takes, for each of its new rows, the old row that was shown then, so that rows are
    skipped or repeated but never blended. The rows keep their length in seconds.

    Args:
        results: with ``streams`` (None: absent, and stays so), ``extent``, ``duration``,
            ``queries``, ``query_ids``, ``gt_spans``.
        old: ``(K,)`` seconds, increasing from 0 to the extent.
        new: ``(K,)`` seconds, not decreasing, from 0; a part of no length is cut out.
        min_inside: a moment is dropped that keeps less than this share of its length (or nothing),
            and a query when it has no moment left.

    Returns:
        the changed copy; ``results`` itself when no query would be left.
    """
    kept = {}
    for number, spans in enumerate(results['gt_spans']):
        moved = np.interp(spans, old, new)
        left = moved[:, 1] - moved[:, 0]
        stays = (left > 0) & (left >= min_inside * (spans[:, 1] - spans[:, 0]) - 1e-6)
        if stays.any():
            kept[number] = moved[stays]
    if not kept:
        return results
    queries = {**select_queries(results, kept), 'gt_spans': list(kept.values())}
    extent = float(new[-1])
    streams: dict[str, np.ndarray | None] = {}
    for name, rows in results['streams'].items():
        if rows is None:
            streams[name] = None
            continue
        count = max(1, round(len(rows) * extent / results['extent']))
        shown = np.interp((np.arange(count) + 0.5) * extent / count, new, old)
        row = (shown * len(rows) / results['extent']).astype(np.int64)
        streams[name] = rows[np.minimum(row, len(rows) - 1)]
    duration = float(np.interp(results['duration'], old, new))
    return {**results, **queries, 'streams': streams, 'extent': extent, 'duration': duration}


def clips_of(results: dict) -> int:
    """Clips of the finest stream: the grid on which time is cut."""
    return max(len(rows) for rows in results['streams'].values() if rows is not None)


class Augmentation(Step):
    """A step that changes an item with some probability.

    Args:
        prob: probability, in [0, 1].
    """

    def __init__(self, prob: float) -> None:
        check_range('prob', prob, 0, 1)
        self.prob = prob

    def transform(self, results: dict) -> dict:
        rng = rng_of(results)
        return self.change(results, rng) if rng.random() < self.prob else results

    def change(self, results: dict, rng: np.random.Generator) -> dict:
        """The changed item; ``results`` stays as it is."""
        raise NotImplementedError


@TRANSFORMS.register_module()
class TemporalCrop(Augmentation):
    """Keep a random window of the video that holds all moments of a random query whole.

    Args:
        prob: probability, in [0, 1].
        min_keep: smallest share of the video that is kept, in (0, 1].
        min_inside: a moment of another query is clipped when at least this share of it is in the
            window, and otherwise dropped; in [0, 1].
    """

    def __init__(self, prob: float = 0.5, min_keep: float = 0.5, min_inside: float = 0.5) -> None:
        super().__init__(prob)
        check_range('min_keep', min_keep, 1e-6, 1)
        check_range('min_inside', min_inside, 0, 1)
        self.min_keep = min_keep
        self.min_inside = min_inside

    def change(self, results: dict, rng: np.random.Generator) -> dict:
        clips, extent = clips_of(results), results['extent']
        if not results['queries']:
            return results
        spans = results['gt_spans'][rng.integers(len(results['queries']))]
        # A border that is at a clip's edge but for rounding does not reach into the next one.
        first = int(np.clip(np.floor(spans.min() / extent * clips + 1e-6), 0, clips - 1))
        last = int(np.clip(np.ceil(spans.max() / extent * clips - 1e-6), first + 1, clips))
        shortest = max(last - first, int(np.ceil(self.min_keep * clips)))
        length = int(rng.integers(shortest, clips + 1))
        low, high = max(0, last - length), min(first, clips - length)
        start = int(rng.integers(low, high + 1))
        cut = np.array([0, start, start + length, clips]) * (extent / clips)
        new = np.array([0, 0, length, length]) * (extent / clips)
        return warp_time(results, cut, new, self.min_inside)


@TRANSFORMS.register_module()
class SpeedChange(Augmentation):
    """Play the whole video, or a random part of it, faster or slower.

    Args:
        prob: probability, in [0, 1].
        low: smallest speed; below 1 is slower.
        high: largest speed; all between are equally likely on a logarithmic scale.
        whole: probability that it is the whole video, in [0, 1].
    """

    def __init__(
        self, prob: float = 0.5, low: float = 0.67, high: float = 1.5, whole: float = 0.5
    ) -> None:
        super().__init__(prob)
        if not 0 < low <= high:
            raise ValueError(f'low={low}, high={high}: give speeds with 0 < low <= high')
        check_range('whole', whole, 0, 1)
        self.low, self.high = low, high
        self.whole = whole

    def change(self, results: dict, rng: np.random.Generator) -> dict:
        clips = clips_of(results)
        speed = float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        start, stop = 0, clips
        if rng.random() >= self.whole:
            start, stop = sorted(int(k) for k in rng.choice(clips + 1, size=2, replace=False))
        length = max(1, round((stop - start) / speed))
        seconds = results['extent'] / clips
        old = np.array([0, start, stop, clips]) * seconds
        new = np.array([0, start, start + length, start + length + clips - stop]) * seconds
        return warp_time(results, old, new)


@TRANSFORMS.register_module()
class ClipDrop(Augmentation):
    """Blank or cut out random clips, but never all clips of a moment.

    Args:
        prob: probability, in [0, 1].
        rate: share of the clips, in [0, 1).
        mode: ``'zero'``: their features become zeros and time stays; ``'remove'``: they are cut
            out and what follows moves up.
    """

    def __init__(self, prob: float = 0.5, rate: float = 0.1, mode: str = 'zero') -> None:
        super().__init__(prob)
        check_range('rate', rate, 0, 1)
        if mode not in ('zero', 'remove'):
            raise ValueError(f"mode is {mode!r}; allowed: 'zero', 'remove'")
        self.rate = rate
        self.mode = mode

    def change(self, results: dict, rng: np.random.Generator) -> dict:
        clips, extent = clips_of(results), results['extent']
        drop = rng.random(clips) < self.rate
        drop[rng.integers(clips)] = False
        for spans in results['gt_spans']:
            for start, end in np.clip(spans / extent, 0, 1) * clips:
                middle = min(int((start + end) / 2), clips - 1)
                touched = drop[int(start) : max(int(np.ceil(end)), middle + 1)]
                drop[middle] &= not touched.all()
        if self.mode == 'remove':
            kept = np.concatenate([[0], np.cumsum(~drop)])
            return warp_time(
                results, np.arange(clips + 1) * (extent / clips), kept * extent / clips
            )
        streams = dict(results['streams'])
        for name, rows in streams.items():
            if rows is None:
                continue
            clip = ((np.arange(len(rows)) + 0.5) * clips / len(rows)).astype(np.int64)
            streams[name] = rows.copy()
            streams[name][drop[clip]] = 0
        return {**results, 'streams': streams}


@TRANSFORMS.register_module()
class WordDrop(Augmentation):
    """Leave out random words of each query, but never its longest ones.

    Args:
        prob: probability for each query, in [0, 1].
        rate: probability for each word, in [0, 1].
        keep: so many longest words always stay, at least 1; of words of equal length the first.
    """

    def __init__(self, prob: float = 0.5, rate: float = 0.2, keep: int = 3) -> None:
        super().__init__(prob)
        check_range('rate', rate, 0, 1)
        if keep < 1:
            raise ValueError(f'keep={keep}: give at least 1, or a query could become empty')
        self.rate = rate
        self.keep = keep

    def transform(self, results: dict) -> dict:
        rng = rng_of(results)
        queries = [
            self._drop(query, rng) if rng.random() < self.prob else query
            for query in results['queries']
        ]
        return {**results, 'queries': queries}

    def _drop(self, query: str, rng: np.random.Generator) -> str:
        words = query.split()
        stays = rng.random(len(words)) >= self.rate
        longest = sorted(range(len(words)), key=lambda k: -len(words[k]))
        stays[longest[: self.keep]] = True
        return ' '.join(word for word, stay in zip(words, stays) if stay)


def check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f'{name}={value}: give a number from {low:g} to {high:g}')
