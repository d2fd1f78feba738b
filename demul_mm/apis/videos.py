"""Videos as users give them (files, features or ids), and the inputs of a model from them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from torch import Tensor

from demul_mm.apis.arguments import Video, as_features
from demul_mm.apis.extractor import FeatureExtractor, Progress
from demul_mm.datasets.base import kind_of, resolve_store
from demul_mm.datasets.stores import FeatureStore
from demul_mm.datasets.stores.arrays import SUFFIXES as FEATURE_SUFFIXES
from demul_mm.datasets.stores.arrays import read_file
from demul_mm.datasets.stores.base import check_length
from demul_mm.datasets.transforms.decode_clips import stream_features
from demul_mm.datasets.transforms.frame_folder import is_frame_folder
from demul_mm.datasets.transforms.load_feature import cover_extent
from demul_mm.files import VIDEO_SUFFIXES, file_state, ids_of
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import FEATURE_STORES, TRANSFORMS
from demul_mm.retrieval.bank import BROKEN, reason
from demul_mm.retrieval.encoding_cache import hash_of

LOADERS = ('LoadVideoFeature', 'LoadVideoClips')

# From a video file to its features (T, d) and the seconds that they cover.
Extractor = Callable[[str], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class VideoSpec:
    """One video as it was given.

    Attributes:
        name: for people; of an index, the id.
        key: identifies its content in a cache.
        kind: 'file', 'features' or 'id'.
        value: path of a video file or folder of frames, features by stream, or id.
        duration: seconds; None: as the video or its features say.
    """

    name: str
    key: str
    kind: str
    value: Any
    duration: float | None


class VideoReader:
    """Makes the model's inputs from videos, however they are given.

    The steps of the config's test pipeline are used, except that loading depends on the video.

    Args:
        config: the whole config.
        model: built from it.
        extractor: for video files, when the model takes features; None: that of the config, if
            it names one (``extractor = dict(checkpoint=...)``).
    """

    def __init__(self, config: Config, model: DeMUL, extractor: Extractor | None = None) -> None:
        dataset = config.test_dataloader.dataset
        steps = list(dataset.get('pipeline', ()))
        self._loaders = [s for s in steps if kind_of(s) in LOADERS]
        self._rest = Compose([TRANSFORMS.build(s) for s in steps if kind_of(s) not in LOADERS])
        self._dataset = dataset
        self._dims: dict[str, Any] = {k: tower.in_dim for k, tower in model.towers.items()}
        self._optional = {
            step.get('stream', 'visual') for step in self._loaders if step.get('optional')
        }
        self._frame_encoder = model.frame_encoder
        steps = [dict(s) for s in self._loaders if kind_of(s) == LOADERS[1]]
        self._clips = {k: v for k, v in (steps or [{}])[0].items() if k not in ('type', 'stream')}
        self._extractor = extractor
        if extractor is None and config.get('extractor'):
            own: dict[str, Any] = dict(device=next(model.parameters()).device)
            self._extractor = FeatureExtractor(**{**own, **config.extractor})
        self._stores: dict[str, FeatureStore] = {}
        extracted = getattr(self._extractor, 'fingerprint', None)
        self._recipe = hash_of([dataset.get('pipeline'), dataset.get('features'), extracted])

    @property
    def reads_files(self) -> bool:
        """Whether it can be given video files."""
        return self._frame_encoder is not None or self._extractor is not None

    def describe(
        self, video: Video, duration: float | None = None, name: str | None = None
    ) -> VideoSpec:
        """What was given; see :func:`as_videos` and :func:`as_durations`.

        Args:
            duration: its seconds.
            name: what a file is called; None: by its name without suffix.

        Raises:
            ValueError, FileNotFoundError: it is nothing that can be read.
        """
        if isinstance(video, (np.ndarray, Tensor, Mapping)):
            return self._of_features(video, duration)
        path = Path(video)
        is_video = path.is_file() or is_frame_folder(path)
        given = [self._recipe, name or path.stem, duration]
        key = hash_of([*given, file_state(path)]) if is_video else ''
        if path.suffix.lower() in FEATURE_SUFFIXES and path.is_file():
            stream = self.stream
            features = {stream: self._checked(stream, read_file(path), str(path))}
            return VideoSpec(name or path.stem, key, 'features', features, duration)
        if is_video:
            if not self.reads_files:
                known = path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES
                what = 'a video' if known else f'no feature file ({", ".join(FEATURE_SUFFIXES)})'
                raise ValueError(
                    f'{path} is {what}, and the model takes features: give those, or for a video '
                    'their extractor (--extractor CHECKPOINT, or extractor=dict(checkpoint=...) '
                    'in the config)'
                )
            return VideoSpec(name or path.stem, key, 'file', str(path), duration)
        return self._of_id(str(video), duration)

    def _of_features(self, video: Any, duration: float | None) -> VideoSpec:
        given = video if isinstance(video, Mapping) else {self.stream: video}
        features, digest = {}, hashlib.sha256(repr(duration).encode())
        for stream, rows in given.items():
            if rows is None and stream in self._optional:
                continue
            array = features[stream] = self._checked(stream, rows, 'the video')
            digest.update(f'{stream} {array.shape}'.encode() + np.ascontiguousarray(array).data)
        name, key = f'array-{digest.hexdigest()[:8]}', hash_of([self._recipe, digest.hexdigest()])
        return VideoSpec(name, key, 'features', features, duration)

    def _of_id(self, video: str, duration: float | None) -> VideoSpec:
        streams = [s.get('stream', 'visual') for s in self._loaders if kind_of(s) != LOADERS[1]]
        # A published model has no store of its own.
        if not streams or any('type' not in (self._store_config(s) or {}) for s in streams):
            raise FileNotFoundError(f'there is no video file {video}')
        absent = [name for name in streams if video not in self._store(name)]
        if set(absent) - self._optional or len(absent) == len(streams):
            absent.sort(key=self._optional.__contains__)
            raise ValueError(
                f'{video!r} is neither a file nor a video of {self._store(absent[0]).path}; give '
                'a video file, a feature file or array, or an id of the feature store'
            )
        states = [self._store(s).state(video) for s in streams if s not in absent]
        key = hash_of([self._recipe, video, duration, absent, states])
        return VideoSpec(video, key, 'id', video, duration)

    def load(self, spec: VideoSpec) -> dict:
        """``dict(inputs, data_samples)`` of a video, without queries.

        Raises:
            FileNotFoundError, ValueError: it cannot be read, or does not say how long it is.
        """
        results = _blank(spec)
        if spec.kind == 'file':
            rows, results['extent'] = self.features(spec.value)
            results['streams'] = {self.stream: rows}
        else:
            self._load_features(spec, results)
        for name in self._optional - results['streams'].keys():
            results['streams'][name] = None
        results['duration'] = self._duration(spec, results)
        return self._rest(results)

    def features(self, path: str, progress: Progress | None = None) -> tuple[np.ndarray, float]:
        """Features ``(T, d)`` of a video file, by the model's own frame encoder or the extractor.

        Args:
            progress: called with the share of it that is done.

        Returns:
            The features, and the seconds that they cover.

        Raises:
            FileNotFoundError, ValueError: it cannot be read.
        """
        if self._frame_encoder is not None:
            rows, extent = stream_features(path, self._clips, self._see, progress)
        elif isinstance(self._extractor, FeatureExtractor):
            rows, extent = self._extractor(path, progress)
        else:
            assert self._extractor is not None
            rows, extent = self._extractor(path)
        return self._checked(self.stream, rows, path), extent

    def pack(self, name: str, rows: np.ndarray, extent: float) -> dict:
        """``dict(inputs, data_samples)`` of features of a video, or of a part of one.

        Args:
            rows: ``(T, d)`` of the stream that features without a name are.
            extent: seconds that they cover.
        """
        results = _blank(VideoSpec(name, '', 'features', None, extent))
        results.update(extent=extent, duration=extent, streams={self.stream: rows})
        results['streams'].update(dict.fromkeys(self._optional - {self.stream}))
        return self._rest(results)

    @torch.inference_mode()
    def _see(self, clips: np.ndarray) -> np.ndarray:
        assert self._frame_encoder is not None
        device = next(self._frame_encoder.parameters()).device
        return self._frame_encoder([torch.from_numpy(clips).to(device)])[0].float().cpu().numpy()

    def _duration(self, spec: VideoSpec, results: dict) -> float:
        """Seconds of the video: as given, if that fits what its features or file cover."""
        extent = results['extent']
        if spec.duration is None:
            return extent
        most = max(len(rows) for rows in results['streams'].values() if rows is not None)
        problem = check_length(extent, spec.duration, extent / most)
        if problem:
            raise ValueError(
                f'{spec.name}: {problem}; give the true duration, or None to take that of the '
                'features'
            )
        return spec.duration

    def _load_features(self, spec: VideoSpec, results: dict) -> None:
        if spec.kind == 'id':
            streams = [name for name in self._dims if self._store_config(name) is not None]
            given = {
                s: self._checked(s, self._store(s).load(spec.value), spec.name)
                for s in streams
                if self._has(s, spec)
            }
        else:
            given = dict(spec.value)
        first = next(iter(given))
        clip_seconds = self._clip_seconds(spec, first)
        if clip_seconds is not None:
            results['extent'] = clip_seconds * len(given[first])
        elif spec.duration is not None:
            results['extent'] = spec.duration
        else:
            raise ValueError(
                f'the features of {spec.name} do not say how many seconds a row covers; give '
                'durations=[...], or clip_seconds in the config of the feature store'
            )
        for name, rows in given.items():
            seconds = self._clip_seconds(spec, name)
            if seconds is not None:
                given[name] = cover_extent(rows, seconds, results['extent'])
        results['streams'] = given

    def _clip_seconds(self, spec: VideoSpec, stream: str) -> float | None:
        """Seconds of a row, where the store or its config says so."""
        seconds = self._store(stream).clip_seconds if spec.kind == 'id' else None
        config = self._store_config(stream)
        return config.get('clip_seconds') if seconds is None and config is not None else seconds

    def _checked(self, stream: str, rows: Any, name: str) -> np.ndarray:
        """The features of a stream as the model takes them."""
        if stream not in self._dims:
            raise ValueError(
                f'{name} has a stream {stream!r}; the model knows {sorted(self._dims)}'
            )
        try:
            return as_features(rows, self._dims[stream])
        except ValueError as error:
            raise ValueError(f'features {stream!r} of {name}: {error}') from error

    @property
    def stream(self) -> str:
        """The stream that features without a name are: the only one that a video needs."""
        needed = [name for name in self._dims if name not in self._optional]
        if len(needed) != 1:
            raise ValueError(
                f'the model has streams {sorted(self._dims)}: give the features of a video as a '
                'dict by stream'
            )
        return needed[0]

    def _store_config(self, stream: str) -> dict | None:
        """Config of a stream's store, its path resolved; None if the pipeline names none."""
        for step in self._loaders:
            if kind_of(step) == LOADERS[0] and step.get('stream', 'visual') == stream:
                store = step.get('store') or (self._dataset.get('features') or {})[stream]
                if 'path' not in store:  # of a published model: what features are, not where
                    return store
                root = self._dataset.get('data_root') or ''
                return resolve_store(store, root, self._dataset.get('split', ''))
        return None

    def _has(self, stream: str, spec: VideoSpec) -> bool:
        return stream not in self._optional or spec.value in self._store(stream)

    def _store(self, stream: str) -> FeatureStore:
        if stream not in self._stores:
            self._stores[stream] = FEATURE_STORES.build(self._store_config(stream))
        return self._stores[stream]


class ListedVideos:
    """Described videos as a :class:`~demul_mm.retrieval.bank.VideoSource`.

    Args:
        reader: reads them.
        specs: by the id that they are asked for by.
    """

    def __init__(self, reader: VideoReader, specs: Mapping[str, VideoSpec]) -> None:
        self._reader = reader
        self._specs = dict(specs)

    def ids(self) -> list[str]:
        return list(self._specs)

    def load(self, video_id: str) -> dict:
        if video_id not in self._specs:
            raise KeyError(
                f'video {video_id!r} is not among the {len(self._specs)} that were given'
            )
        return self._reader.load(self._specs[video_id])

    def key(self, video_id: str) -> str:
        spec = self._specs.get(video_id)
        return video_id if spec is None else spec.key


def describe_all(
    reader: VideoReader, videos: Sequence[Video], durations: Sequence[float | None]
) -> list[VideoSpec | str]:
    """Each video described, or why it cannot be.

    Raises:
        ValueError: two files would have the same name.
    """
    files = [v for v in videos if isinstance(v, (str, PathLike)) and Path(v).is_file()]
    names = ids_of(files)
    described: list[VideoSpec | str] = []
    for video, duration in zip(videos, durations):
        try:
            name = names.get(fspath(video)) if isinstance(video, (str, PathLike)) else None
            described.append(reader.describe(video, duration, name))
        except BROKEN as error:
            described.append(reason(error))
    return described


def disk_cache(folder: str | Path | None, extractor: Extractor | None) -> str | Path | None:
    """The folder of encodings, or None where they could be those of another extractor's features.

    Args:
        extractor: as it was given; None: that of the config.
    """
    if folder is None or extractor is None or getattr(extractor, 'fingerprint', None):
        return folder
    MMLogger.get_current_instance().warning(
        f'{folder} is not used: the extractor has no attribute fingerprint, a text by which what '
        'is kept of it would be told from what is kept of another'
    )
    return None


def _blank(spec: VideoSpec) -> dict[str, Any]:
    """What goes into a pipeline of a video without queries."""
    return dict(
        video_id=spec.name,
        video_path=spec.value if spec.kind == 'file' else None,
        queries=[],
        query_ids=[],
        gt_spans=[],
        sample_idx=0,
    )
