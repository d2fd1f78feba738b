"""Parts of a data set by hashes of the video ids: the same on every machine and in every order."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

FOLD_PARTS = ('train', 'test', 'corpus')


class Folds(NamedTuple):
    """One round of a cross-validation by video.

    Attributes:
        num: number of folds, 2 or more.
        test: the fold that is tested on, from 0 to ``num - 1``.
        part: ``'test'``: the videos of that fold; ``'train'``: all others; ``'corpus'``: the
            videos of all folds, with the queries of that fold alone, to search for among them.
    """

    num: int
    test: int
    part: str

    def take(self, items: Sequence[dict]) -> list[dict]:
        """What this part has of the items of a data set."""
        tested = [fold_of(item['video_id'], self.num) == self.test for item in items]
        if self.part == 'corpus':
            unasked: dict[str, list] = {'queries': [], 'query_ids': [], 'gt_spans': []}
            return [item if test else {**item, **unasked} for item, test in zip(items, tested)]
        return [item for item, test in zip(items, tested) if test == (self.part == 'test')]


def fold_of(video_id: str, num: int) -> int:
    """The fold of a video, 0 to ``num - 1``: the first 8 bytes of its SHA-256, modulo ``num``."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], 'big') % num


def read_folds(config: Mapping) -> Folds:
    """The folds that ``dict(num=5, test=0, part='train')`` describes.

    Raises:
        ValueError: a key is missing or unknown, or a value is not allowed.
    """
    if not isinstance(config, Mapping) or config.keys() != set(Folds._fields):
        raise ValueError(
            f'folds={dict(config)}: give all of num, test and part, as '
            "folds=dict(num=5, test=0, part='train')"
        )
    folds = Folds(**config)
    if folds.num < 2 or not 0 <= folds.test < folds.num:
        raise ValueError(f'{folds}: give at least 2 folds, and one of 0 to num - 1 to test on')
    if folds.part not in FOLD_PARTS:
        allowed = ', '.join(map(repr, FOLD_PARTS))
        raise ValueError(f'the part of the folds is {folds.part!r}; allowed: {allowed}')
    return folds


def stable_unit(text: str, salt: str = '') -> float:
    """A number in [0, 1) that depends on ``text`` and ``salt`` only, the same everywhere."""
    digest = hashlib.sha256(f'{salt}\0{text}'.encode()).digest()
    return int.from_bytes(digest[:8], 'big') / 2**64


def hash_subset(video_ids: Sequence[str], max_videos: int | None) -> list[str]:
    """At most ``max_videos`` ids, chosen by their hashes, in the given order; None: all."""
    if max_videos is None or len(video_ids) <= max_videos:
        return list(video_ids)
    by_hash = sorted(video_ids, key=lambda video_id: stable_unit(video_id, 'max_videos'))
    chosen = set(by_hash[:max_videos])
    return [video_id for video_id in video_ids if video_id in chosen]
