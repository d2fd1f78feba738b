"""A moment of another video, spliced into this one."""

import re
from typing import NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset

from demul_mm.datasets.transforms.augment import Augmentation, check_range, clips_of
from demul_mm.datasets.transforms.sample_queries import select_queries
from demul_mm.registry import TRANSFORMS


class Piece(NamedTuple):
    """A stretch of another video with a moment in it; in seconds."""

    donor: dict
    query: int  # its place in the donor's queries
    start: float  # in the donor
    length: float
    moment: tuple[float, float]  # from the start of the piece


@TRANSFORMS.register_module()
class SpliceMoment(Augmentation):
    """Splice a moment of another video of the data set into this one, with its sentence.

    The other video is loaded by the steps of the pipeline that come before this one, which must be
    a step of the data set's own pipeline. The piece goes where it costs the video's own queries
    least; what is left of a moment that it hits is kept when it is enough, and at least one query
    of the video stays. The sentence of the piece is the last of the queries.

    Args:
        prob: probability, in [0, 1].
        mode: ``'replace'``: the piece takes the place of as many clips, and time stays;
            ``'insert'``: it goes between two clips, and what follows moves on.
        margin: the piece takes along, on either side of the moment, up to this share of the
            moment's length, drawn evenly; so that a cut is not always the border of a moment.
        max_share: longest piece, as a share of the video, in (0, 1].
        min_inside: a moment of this video is kept when at least this share of it is left in one
            part, in [0, 1].
        too_alike: a sentence that shares at least this part of its words with any sentence of this
            video (intersection over union) is not spliced in: it may be true elsewhere in it.
        tries: so many other videos are looked at for a moment that fits.
    """

    def __init__(
        self,
        prob: float = 0.5,
        mode: str = 'replace',
        margin: float = 0.25,
        max_share: float = 0.5,
        min_inside: float = 0.75,
        too_alike: float = 0.6,
        tries: int = 5,
    ) -> None:
        super().__init__(prob)
        if mode not in ('replace', 'insert'):
            raise ValueError(f"mode is {mode!r}; allowed: 'replace', 'insert'")
        if margin < 0:
            raise ValueError(f'margin={margin}: give a share of the moment, at least 0')
        check_range('max_share', max_share, 1e-6, 1)
        check_range('min_inside', min_inside, 0, 1)
        check_range('too_alike', too_alike, 1e-6, 1)
        if tries < 1:
            raise ValueError(f'tries={tries}: give at least 1')
        self.mode = mode
        self.margin = margin
        self.max_share = max_share
        self.min_inside = min_inside
        self.too_alike = too_alike
        self.tries = tries
        self._dataset: BaseDataset | None = None

    def attach(self, dataset: BaseDataset) -> None:
        """Take other videos from this data set."""
        self._dataset = dataset

    def change(self, results: dict, rng: np.random.Generator) -> dict:
        if self._dataset is None:
            raise ValueError(
                'SpliceMoment knows no other videos: put it into the pipeline of a data set '
                '(MomentDataset shows itself to its steps by attach)'
            )
        if not results['queries']:
            return results
        own = self._dataset.get_data_info(results['sample_idx'])['queries']
        captions = [_words(text) for text in [*results['queries'], *own]]
        for _ in range(self.tries):
            piece = self._piece(results, captions, rng)
            place = None if piece is None else self._place(results, piece, rng)
            if piece is not None and place is not None:
                return self._splice(results, piece, place)
        return results

    def _piece(
        self, results: dict, captions: list[set[str]], rng: np.random.Generator
    ) -> Piece | None:
        """A random moment of a random other video; None where it does not fit in."""
        assert self._dataset is not None
        index = int(rng.integers(len(self._dataset)))
        info = self._dataset.get_data_info(index)
        if info['video_id'] == results['video_id'] or not info['queries']:
            return None
        number = int(rng.integers(len(info['queries'])))
        words = _words(info['queries'][number])
        if any(_overlap(words, caption) >= self.too_alike for caption in captions):
            return None
        donor = self._load(info, rng)
        if donor is None or info['query_ids'][number] not in donor['query_ids']:
            return None
        if any(
            donor['streams'].get(name) is None
            for name, rows in results['streams'].items()
            if rows is not None
        ):
            return None
        return self._cut(results, donor, donor['query_ids'].index(info['query_ids'][number]), rng)

    def _load(self, info: dict, rng: np.random.Generator) -> dict | None:
        """Another item as the steps before this one leave it."""
        assert self._dataset is not None
        donor: dict | None = {**info, 'rng': rng}
        for step in self._dataset.pipeline.transforms:
            if step is self or donor is None:
                return donor
            donor = step(donor)
        raise ValueError(
            'SpliceMoment is inside another step; make it a step of the pipeline itself '
            '(it has a prob of its own)'
        )

    def _cut(
        self, results: dict, donor: dict, number: int, rng: np.random.Generator
    ) -> Piece | None:
        """The piece around one of the donor's moments, as long as a whole number of clips here."""
        spans = donor['gt_spans'][number]
        end_of_donor = min(donor['extent'], donor['duration'])
        start, end = np.minimum(spans[rng.integers(len(spans))], end_of_donor)
        before, after = rng.uniform(0, self.margin, size=2) * (end - start)
        low, high = max(0.0, start - before), min(end_of_donor, end + after)
        clip = results['extent'] / clips_of(results)
        length = max(1, int(np.ceil((high - low) / clip - 1e-6))) * clip
        if end <= start or length > self.max_share * results['extent']:
            return None
        low = max(0.0, min(low, end_of_donor - length))
        moment = (float(start - low), float(min(end - low, length)))
        return Piece(donor, number, float(low), length, moment)

    def _place(self, results: dict, piece: Piece, rng: np.random.Generator) -> float | None:
        """Where the piece begins, in seconds: one of the places that cost the queries least."""
        clip = results['extent'] / clips_of(results)
        end = min(results['extent'], results['duration'])
        if self.mode == 'replace':
            end -= piece.length
        places = np.arange(int(np.floor(end / clip + 1e-6)) + 1) * clip
        if end < -1e-6 or not len(places):
            return None
        kept = np.zeros(len(places))
        for spans in results['gt_spans']:
            parts, enough = self._left_of(spans, places, piece)
            share = (parts[..., 1] - parts[..., 0]) / (spans[:, 1] - spans[:, 0])  # (N, G)
            kept += np.where(enough, share, 0.0).max(1)
        if kept.max() <= 0:
            return None
        return float(rng.choice(places[kept > kept.max() - 1e-6]))

    def _left_of(
        self, spans: np.ndarray, places: np.ndarray, piece: Piece
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is left of moments in one part, at each place.

        Args:
            spans: ``(G, 2)`` seconds.
            places: ``(N,)`` seconds.

        Returns:
            the parts ``(N, G, 2)``, in the old time, and whether each is enough ``(N, G)``.
        """
        low = places[:, None]
        high = low + piece.length if self.mode == 'replace' else low
        start, end = spans[None, :, 0], spans[None, :, 1]
        before = np.minimum(end, low) - start  # (N, G)
        after = end - np.maximum(start, high)
        left = np.where(before >= after, np.minimum(end, low), np.maximum(start, high))
        first = before >= after
        parts = np.stack([np.where(first, start, left), np.where(first, left, end)], -1)
        length = parts[..., 1] - parts[..., 0]
        return parts, (length > 0) & (length >= self.min_inside * (end - start) - 1e-6)

    def _splice(self, results: dict, piece: Piece, place: float) -> dict:
        shift = piece.length if self.mode == 'insert' else 0.0
        kept = {}
        for number, spans in enumerate(results['gt_spans']):
            parts, enough = self._left_of(spans, np.array([place]), piece)
            if enough.any():
                left = parts[enough]  # (G, 2), each before or after the piece
                kept[number] = left + shift * (left[:, :1] > place - 1e-6)
        queries = {**select_queries(results, kept), 'gt_spans': list(kept.values())}
        text, query_id = (piece.donor[key][piece.query] for key in ('queries', 'query_ids'))
        moment = np.minimum(np.add(piece.moment, place), results['duration'] + shift)
        queries['queries'].append(text)
        queries['query_ids'].append(f'{query_id}@{results["video_id"]}')
        queries['gt_spans'].append(moment[None])
        if 'hard_queries' in queries:
            queries['hard_queries'].append('')
        streams = {
            name: None if rows is None else self._rows(rows, results['extent'], name, piece, place)
            for name, rows in results['streams'].items()
        }
        time = {key: results[key] + shift for key in ('extent', 'duration')}
        return {**results, **queries, **time, 'streams': streams}

    def _rows(
        self, rows: np.ndarray, extent: float, name: str, piece: Piece, place: float
    ) -> np.ndarray:
        """A stream with the piece in it; each row is one of this video or one of the other's."""
        count, shift = len(rows), 0.0
        if self.mode == 'insert':
            shift = piece.length
            count += max(1, round(len(rows) * piece.length / extent))
        now = (np.arange(count) + 0.5) * (extent + shift) / count
        inside = (now >= place) & (now < place + piece.length)
        then = np.where(now < place, now, now - shift)
        spliced = rows[_row_at(then, extent, len(rows))]
        other, other_extent = piece.donor['streams'][name], piece.donor['extent']
        shown = piece.start + now[inside] - place
        spliced[inside] = other[_row_at(shown, other_extent, len(other))]
        return spliced


def _row_at(seconds: np.ndarray, extent: float, count: int) -> np.ndarray:
    """Which of ``count`` rows that cover ``extent`` is shown at each time."""
    # A time at a row's edge but for rounding belongs to the row that begins there.
    return np.clip((seconds * count / extent + 1e-6).astype(np.int64), 0, count - 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r'\w+', text.lower()))


def _overlap(one: set[str], two: set[str]) -> float:
    return len(one & two) / max(len(one | two), 1)
