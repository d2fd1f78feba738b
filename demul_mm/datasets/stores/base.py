"""What all feature stores have in common."""

import abc
import os
from collections.abc import Collection, Iterator

import numpy as np

from demul_mm.files import file_state
from demul_mm.structures import is_length

# Features of published models stay below 1e4; the squares of larger ones than this overflow.
LARGEST = 1e6
# What the array of a video is called, in a file that holds more than it, in published features.
KEYS = ('features', 'feats', 'feature', 'arr_0')


class FeatureStore(abc.ABC):
    """Pre-extracted features: for each video an array of ``T`` rows of ``dim`` values.

    Nothing proportional to the size of the features is held in memory, and a store can be handed
    to worker processes (forked or pickled).

    Args:
        path: file or folder.
        dim: expected width of the rows; another width is an error. None: whatever is there.
        clip_seconds: seconds that one row covers; None: the rows of a video cover its duration
            evenly.
    """

    simulated: bool = False
    name: str = '{video_id}'

    def __init__(
        self, path: str, dim: int | None = None, clip_seconds: float | None = None
    ) -> None:
        if clip_seconds is not None and not is_length(clip_seconds):
            raise ValueError(f'clip_seconds={clip_seconds}: give seconds above 0, or None')
        self.path = str(path)
        self.clip_seconds = clip_seconds
        self._dim = dim

    @property
    def dim(self) -> int:
        """Width of the rows: as configured, or that of the first video."""
        if self._dim is None:
            first = next(iter(self.ids()), None)
            if first is None:
                raise ValueError(f'{self.path} holds no features')
            self._dim = self.shape(first)[1]
        return self._dim

    @property
    @abc.abstractmethod
    def _places(self) -> Collection[str]:
        """What the store has, by the names that ``name`` makes of video ids, in a fixed order."""

    def ids(self) -> Iterator[str]:
        """The videos, in a fixed order; their names where ``name`` changes them."""
        return iter(self._places)

    def __contains__(self, video_id: object) -> bool:
        return isinstance(video_id, str) and named(self.name, video_id) in self._places

    def __len__(self) -> int:
        return len(self._places)

    @abc.abstractmethod
    def shape(self, video_id: str) -> tuple[int, int]:
        """``(T, d)``, without reading the values."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A short hash that changes when the features do."""

    def state(self, video_id: str) -> str:
        """What is another text once the features of a video that is there are others."""
        return file_state(self.path)

    @abc.abstractmethod
    def read(self, video_id: str) -> np.ndarray:
        """The stored array as it is, unchecked; normally ``(T, d)``."""

    def load(self, video_id: str) -> np.ndarray:
        """The features ``(T, d)`` float32 of a video, a copy of its own.

        Raises:
            KeyError: the store does not have the video.
            ValueError: they are empty, of another width than configured, or not finite.
        """
        self._require(video_id)
        features = np.array(self.read(video_id), dtype=np.float32)
        problem = check_features(features, self._dim)
        if problem:
            raise ValueError(f'features of video {video_id!r} in {self.path}: {problem}')
        return features

    def _require(self, video_id: str) -> None:
        if video_id not in self:
            examples = ', '.join(repr(v) for _, v in zip(range(3), self.ids()))
            there = f'{len(self):,} videos, such as {examples}' if examples else self._nothing()
            raise KeyError(f'no features of video {video_id!r} in {self.path} ({there})')

    def _nothing(self) -> str:
        """What to say of a store without videos."""
        return 'it is empty'


def named(form: str, video_id: str) -> str:
    """What a store calls a video, by a form made of ``{video_id}`` or ``{stem}``."""
    try:
        return form.format(video_id=video_id, stem=os.path.splitext(video_id)[0])
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        raise ValueError(f'{form!r}: make it of {{video_id}} or {{stem}} alone') from error


def check_features(features: np.ndarray, dim: int | None) -> str | None:
    """What is wrong with an array that should be ``(T, dim)``; None when nothing is."""
    if features.ndim != 2:
        return f'shape {features.shape}, expected (rows, {dim or "width"}); store one row a clip'
    if features.shape[0] == 0 or features.shape[1] == 0:
        return f'empty, shape {features.shape}; extract them again'
    if dim is not None and features.shape[1] != dim:
        return (
            f'rows of {features.shape[1]} values, the config says dim={dim}; '
            'set dim (and the in_channels of the model) to that of your features'
        )
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        return f'{bad.sum()} of {len(bad)} rows hold NaN or infinity; extract them again'
    if (largest := max(features.max(), -features.min())) > LARGEST:
        return f'values of up to {largest:.3g}, beyond {LARGEST:g}; these are no features'
    return None


def check_length(
    covered: float, duration: float, clip_seconds: float, what: str = 'features'
) -> str | None:
    """What is wrong when features cover other seconds than the video has; None when nothing is.

    A tenth of the duration and two clips may differ: extractors leave out, or fill up, the last.
    """
    if abs(covered - duration) <= 0.1 * duration + 2 * clip_seconds:
        return None
    return f'{covered:g} s of {what}, {duration:g} s of video'


def rows_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape that :func:`as_rows` gives an array of ``shape``.

    A shape that cannot be rows is reported by ``load``; here its axes are counted as rows.
    """
    rows = as_rows(np.broadcast_to(np.float32(0), shape)).shape
    return (rows[0], rows[1]) if len(rows) == 2 else (int(np.prod(rows[:-1])), rows[-1])


def as_rows(array: np.ndarray) -> np.ndarray:
    """``(T, d)`` from arrays with further axes of length 1, as some extractors write them.

    The last axis is the width; all axes before it but one must have length 1.
    """
    if array.ndim > 2 and sum(size != 1 for size in array.shape[:-1]) <= 1:
        return array.reshape(-1, array.shape[-1])
    return array
