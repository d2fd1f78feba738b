"""Checks of the arguments of the inferencers, before any work."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from torch import Tensor

from demul_mm.datasets.stores.base import as_rows, check_features
from demul_mm.structures import is_length, is_unicode
from demul_mm.structures.counts import shown
from demul_mm.structures.spans import SECONDS

Features = np.ndarray | Tensor
Video = str | PathLike | Features | Mapping[str, Features | None]
Queries = str | Sequence[str] | Sequence[Sequence[str]]
Durations = float | Sequence[float | None]


def as_videos(videos: Video | Sequence[Video]) -> list[Video]:
    """One video or several, as a list.

    Raises:
        TypeError, ValueError: there is none, or one of them is nothing that a video can be.
    """
    one = isinstance(videos, (str, bytes, PathLike, np.ndarray, Tensor, Mapping))
    listed: list[Any] = [videos] if one else _listed('videos', videos)
    for i, video in enumerate(listed):
        if not isinstance(video, (str, PathLike, np.ndarray, Tensor, Mapping)):
            raise TypeError(
                f'videos[{i}] is a {type(video).__name__}; give a path, an id, an array (rows, '
                'width), or a dict of arrays by stream'
            )
        if isinstance(video, (str, Mapping)) and not video:
            raise ValueError(f'videos[{i}] is empty: {video!r}; leave it out')
    return listed


def as_sentences(queries: Any, name: str = 'queries') -> list[str]:
    """One sentence or several, as a list.

    Raises:
        TypeError, ValueError: there is none, or one of them is no text, or empty.
    """
    listed = [queries] if isinstance(queries, str) else _listed(name, queries)
    for i, sentence in enumerate(listed):
        if not isinstance(sentence, str):
            raise TypeError(f'{name}[{i}] is a {type(sentence).__name__}; give a sentence')
        if not sentence.strip():
            raise ValueError(f'{name}[{i}] is empty; give a sentence that describes a moment')
        if not is_unicode(sentence):
            raise ValueError(f'{name}[{i}] is {shown(sentence)}, no valid Unicode; read it anew')
    return [str(sentence) for sentence in listed]


def as_queries(queries: Queries, num_videos: int) -> list[list[str]]:
    """The queries of each video: sentences, asked of every one, or a list of them for each.

    Raises:
        TypeError, ValueError: see :func:`as_sentences`; or the lists do not fit the videos.
    """
    rows = [queries] if isinstance(queries, str) else _listed('queries', queries)
    nested = [isinstance(row, (list, tuple)) for row in rows]
    if not any(nested):
        return [as_sentences(rows) for _ in range(num_videos)]
    if not all(nested) or len(rows) != num_videos:
        raise ValueError(
            f'queries has {len(rows)} entries for {num_videos} videos; give sentences, asked of '
            'every video, or one list of sentences for each video'
        )
    return [as_sentences(row, f'queries[{i}]') for i, row in enumerate(rows)]


def as_durations(durations: Durations | None, num_videos: int) -> list[float | None]:
    """Seconds of each video, None where its features say; a number is that of the one video.

    Raises:
        TypeError, ValueError: there are more or fewer than videos, or one is no length.
    """
    if durations is None:
        return [None] * num_videos
    one = isinstance(durations, (int, float, str)) or getattr(durations, 'ndim', 1) == 0
    listed = [durations] if one else _listed('durations', durations)
    if len(listed) != num_videos:
        raise ValueError(
            f'{len(listed)} durations were given for {num_videos} videos; give one for each, None '
            'where the features say it'
        )
    return [_seconds(value, f'durations[{i}]') for i, value in enumerate(listed)]


def as_features(rows: Features, dim: int | None) -> np.ndarray:
    """An array or tensor of any device and number type as a copy ``(T, d)`` float32.

    Further axes of length 1 are taken away, as of ``(1, T, d)``.

    Args:
        dim: the width it must have; None: any.

    Raises:
        ValueError: it holds no real numbers, or no usable features.
    """
    try:
        array = rows
        if isinstance(rows, Tensor):
            array = rows.detach().cpu().float() if rows.is_floating_point() else rows.cpu()
        array = np.asarray(array)
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        why = str(error).split('\n', 1)[0]
        raise ValueError(f'{type(rows).__name__} that is no array ({why}); give rows') from error
    if array.dtype.kind not in 'fiu':
        raise ValueError(f'holds {array.dtype}; give real numbers')
    with np.errstate(over='ignore'):
        array = as_rows(array.astype(np.float32))
    problem = check_features(array, dim)
    if problem:
        raise ValueError(problem)
    return array


def check_share(name: str, value: Any) -> float:
    """``value``, a number in [0, 1].

    Raises:
        TypeError, ValueError: it is not.
    """
    number = _number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f'{name} is {value}; it must be in [0, 1]')
    return number


def _listed(name: str, values: Any) -> list:
    if isinstance(values, (bytes, Mapping)):
        raise TypeError(f'{name} is a {type(values).__name__}; give a list')
    try:
        listed = list(values)
    except TypeError:
        raise TypeError(f'{name} is {shown(values)}; give one or a list') from None
    if not listed:
        raise ValueError(f'{name} is empty; give at least one')
    return listed


def _seconds(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = _number(name, value)
    if not is_length(number):
        raise ValueError(
            f'{name} is {shown(value)}; give the seconds of the video, above 0 and no more than '
            f'{SECONDS[1]:g}'
        )
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, (str, bytes, bool)):
        raise TypeError(f'{name} is {shown(value)}; give a number')
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f'{name} is {shown(value)}; give a number') from None
