"""Reading pre-extracted features."""

import numpy as np
from mmcv.transforms import BaseTransform

from demul_mm.datasets.stores.base import check_length
from demul_mm.registry import FEATURE_STORES, TRANSFORMS


def cover_extent(rows: np.ndarray, seconds: float, extent: float) -> np.ndarray:
    """Cut ``rows (T, d)`` of ``seconds`` each, or add rows of zeros, so that they cover ``extent``.

    To the nearest whole row, and at least one.
    """
    count = max(1, round(extent / seconds))
    if count <= len(rows):
        return rows[:count]
    return np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]), rows.dtype)])


@TRANSFORMS.register_module()
class LoadVideoFeature(BaseTransform):
    """Read the features of a video from a store.

    Required keys: ``video_id``, ``duration``. Set keys: ``streams[stream]`` (T, d) float32,
    ``extent`` (seconds that the rows cover, by the first stream loaded; a further stream is cut or
    filled up with zeros to cover the same), ``simulated`` (whether any of the streams holds
    stand-in features).

    Args:
        store: config of a feature store. None: that of the data set for this stream
            (``features=dict(visual=dict(...))``).
        stream: name of the stream.
        optional: a video may lack the stream: it is then None, as subtitles are where nobody
            speaks. A video must have one of its streams at least.
    """

    def __init__(
        self, store: dict | None = None, stream: str = 'visual', optional: bool = False
    ) -> None:
        if store is None:
            raise ValueError(
                f'LoadVideoFeature(stream={stream!r}) needs a store: give one here, or '
                f'features=dict({stream}=dict(type=..., path=...)) to the data set'
            )
        self.store = FEATURE_STORES.build(store)
        self.stream = stream
        self.optional = optional

    def lacks(self, item: dict) -> str | None:
        """Why the store cannot give the item its stream; None when it can."""
        if item['video_id'] in self.store:
            return None
        return f'{item["video_id"]}: not in {self.store.path}'

    def state(self, item: dict) -> str:
        """What is another text once the item's features are others."""
        return '' if self.lacks(item) else self.store.state(item['video_id'])

    def misfit(self, item: dict) -> str | None:
        """What is wrong with the length of the item's features; None when nothing is.

        Nothing can be said where rows have no length; an optional stream, such as what is spoken,
        need not go on to the end.
        """
        seconds = self.store.clip_seconds
        if seconds is None or self.optional:
            return None
        rows = self.store.shape(item['video_id'])[0]
        problem = check_length(rows * seconds, item['duration'], seconds)
        return problem and f'{item["video_id"]}: {problem}'

    def transform(self, results: dict) -> dict:
        streams = results.setdefault('streams', {})
        if self.optional and self.lacks(results):
            streams[self.stream] = None
            return results
        features = self.store.load(results['video_id'])
        seconds = self.store.clip_seconds or results['duration'] / len(features)
        extent = results.setdefault('extent', self._extent(results, len(features)))
        streams[self.stream] = cover_extent(features, seconds, extent)
        results['simulated'] = results.get('simulated', False) or self.store.simulated
        return results

    def _extent(self, results: dict, rows: int) -> float:
        seconds = self.store.clip_seconds
        return results['duration'] if seconds is None else seconds * rows

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(stream={self.stream!r}, store={self.store.path!r}, '
            f'optional={self.optional})'
        )
