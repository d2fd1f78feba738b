"""Reading pre-extracted features."""

from mmcv.transforms import BaseTransform

from demul_mm.registry import FEATURE_STORES, TRANSFORMS


@TRANSFORMS.register_module()
class LoadVideoFeature(BaseTransform):
    """Read the features of a video from a store.

    Required keys: ``video_id``, ``duration``. Set keys: ``streams[stream]`` (T, d) float32,
    ``extent`` (seconds that the rows cover, by the first stream loaded), ``simulated`` (whether
    any of the streams holds stand-in features).

    Args:
        store: config of a feature store. None: that of the data set for this stream
            (``features=dict(visual=dict(...))``).
        stream: name of the stream.
    """

    def __init__(self, store: dict | None = None, stream: str = 'visual') -> None:
        if store is None:
            raise ValueError(
                f'LoadVideoFeature(stream={stream!r}) needs a store: give one here, or '
                f'features=dict({stream}=dict(type=..., path=...)) to the data set'
            )
        self.store = FEATURE_STORES.build(store)
        self.stream = stream

    def lacks(self, item: dict) -> str | None:
        """Why the item cannot be loaded; None when it can."""
        if item['video_id'] in self.store:
            return None
        return f'{item["video_id"]}: not in {self.store.path}'

    def transform(self, results: dict) -> dict:
        features = self.store.load(results['video_id'])
        results.setdefault('streams', {})[self.stream] = features
        seconds = self.store.clip_seconds
        extent = results['duration'] if seconds is None else seconds * len(features)
        results.setdefault('extent', extent)
        results['simulated'] = results.get('simulated', False) or self.store.simulated
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(stream={self.stream!r}, store={self.store.path!r})'
