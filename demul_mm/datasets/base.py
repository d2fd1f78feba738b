"""The base of all data sets: one item is one video with all of its queries."""

import copy
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger

from demul_mm.datasets.annotations import Cleaner, RawVideo
from demul_mm.datasets.availability import find_missing
from demul_mm.datasets.folds import hash_subset, read_folds, stable_unit
from demul_mm.datasets.samplers.seeded import SeededIndex
from demul_mm.datasets.subtitles import read_timed_text
from demul_mm.files import VIDEO_SUFFIXES
from demul_mm.registry import TRANSFORMS


class MomentDataset(BaseDataset):
    """One item is one video with all of its queries.

    Items have ``video_id``, ``duration`` (seconds), ``queries``, ``query_ids``, ``gt_spans`` (for
    each query ``(G, 2)`` seconds), ``video_path`` (or None), ``meta`` (dict) and ``sample_idx``.
    Only annotations are held in memory; features and frames are read by the pipeline.

    Args:
        ann_file: annotation file, relative to ``data_root``.
        split: name of the split, for messages, tables and feature paths.
        data_root: folder of the data set.
        info_file: further annotation file or files, relative to ``data_root``, for the data sets
            that keep durations apart (see the class).
        data_prefix: ``dict(video=folder)``, relative to ``data_root``; only for pipelines that
            decode video.
        name: ``dataset_name`` in the meta information; None: that of the class.
        features: for each stream the config of its feature store, for the ``LoadVideoFeature``
            steps of the pipeline that name none: ``dict(visual=dict(type='PackedStore', ...))``.
            A relative ``path`` is taken from ``data_root``, and ``{split}`` in it is the split.
        texts: file or folder, relative to ``data_root``, of what is said or written in the videos,
            as ``tools/data/encode_subtitles.py`` reads it. It becomes ``meta['text']``, and a
            search of the corpus holds its words against those of a sentence.
        pipeline: transforms.
        folds: parts of a cross-validation by video, ``dict(num=5, test=0, part='train')``: the part
            to keep (see :class:`Folds`); None: all videos.
        subset: ``'all'``, or ``'fit'`` / ``'holdout'`` for the two parts that ``holdout_fraction``
            divides the videos (of the folds) into, by a hash of the video id.
        holdout_fraction: share of the held-out part, in (0, 1).
        max_videos: keep so many videos, chosen by a hash of the video id, in the file's order.
        missing: what to do with videos that the pipeline has no features or file for, or features
            of another length: ``'error'`` or ``'skip'``.
        strict: a fault of the annotations is an error instead of being mended; None: as the class
            has it (mend published files, refuse one's own).
        test_mode: keep queries whose truth is unknown, and videos without any query; a failing item
            is not replaced.
        serialize_data: see ``mmengine.dataset.BaseDataset``.
        lazy_init: see ``mmengine.dataset.BaseDataset``.

    Attributes:
        recipe (dict): the ``features`` and the ``pipeline``, as configs.
        cleaning (CleaningLog): what was dropped and clipped, once the annotations are loaded.

    Raises:
        FileNotFoundError: no annotation file.
        AnnotationError: a fault in it.
        ValueError: a wrong option, or features missing.
    """

    # Allowed names of splits; none: any.
    splits: tuple[str, ...] = ()
    strict_by_default = False

    def __init__(
        self,
        ann_file: str,
        split: str,
        data_root: str = '',
        info_file: str | Sequence[str] | None = None,
        data_prefix: dict | None = None,
        name: str | None = None,
        features: dict | None = None,
        texts: str | None = None,
        pipeline: Sequence = (),
        folds: Mapping | None = None,
        subset: str = 'all',
        holdout_fraction: float = 0.1,
        max_videos: int | None = None,
        missing: str = 'error',
        strict: bool | None = None,
        test_mode: bool = False,
        serialize_data: bool = True,
        lazy_init: bool = False,
    ) -> None:
        _check_choice('subset', subset, ('all', 'fit', 'holdout'))
        _check_choice('missing', missing, ('error', 'skip'))
        if self.splits:
            _check_choice(f'split of {type(self).__name__}', split, self.splits)
        if not 0 < holdout_fraction < 1:
            raise ValueError(f'holdout_fraction={holdout_fraction}: give a share between 0 and 1')
        if max_videos is not None and max_videos < 1:
            raise ValueError(f'max_videos={max_videos}: give at least 1, or None for all')
        self.split = split
        self.folds = None if folds is None else read_folds(folds)
        self.subset = subset
        self.holdout_fraction = holdout_fraction
        self.max_videos = max_videos
        self.missing = missing
        self.strict = self.strict_by_default if strict is None else strict
        self.info_files = [
            os.path.join(data_root, file)
            for file in ([info_file] if isinstance(info_file, str) else info_file or [])
        ]
        self.texts = None if texts is None else os.path.join(data_root, texts)
        self.features = {
            stream: resolve_store(store, data_root, split)
            for stream, store in (features or {}).items()
        }
        self.recipe = dict(features=self.features, pipeline=list(pipeline))
        super().__init__(
            ann_file=ann_file,
            metainfo={} if name is None else {'dataset_name': name},
            data_root=data_root,
            data_prefix=dict(data_prefix or {}),
            pipeline=[_build_step(step, self.features, data_root, split) for step in pipeline],
            test_mode=test_mode,
            serialize_data=serialize_data,
            lazy_init=lazy_init,
        )

    @property
    def metainfo(self) -> dict:
        """``dataset_name``, ``split``, ``subset`` and, in a cross-validation, ``folds``."""
        own: dict[str, Any] = {'split': self.split, 'subset': self.subset}
        if self.folds is not None:
            own['folds'] = self.folds._asdict()
        return {**super().metainfo, **own}

    def read_annotations(self) -> Iterator[RawVideo]:
        """The videos of ``self.ann_file``, as they are there."""
        raise NotImplementedError

    def sentences(self) -> Iterator[str]:
        """All sentences, video by video."""
        for index in range(len(self)):
            yield from self.get_data_info(index)['queries']

    def load_data_list(self) -> list[dict]:
        """Read and clean the annotations, choose the subset, drop what cannot be loaded."""
        for file in (self.ann_file, *self.info_files):
            if not os.path.isfile(file):
                raise FileNotFoundError(
                    f'no annotation file {file!r} for {type(self).__name__} ({self.split}); '
                    'tools/data/<data set>/README.md says where it is published'
                )
        _files_by_stem.cache_clear()  # more may be there than at the last time
        cleaner = Cleaner(self.ann_file, strict=self.strict, keep_unlabelled=self.test_mode)
        items = [
            self._locate(item) for raw in self.read_annotations() if (item := cleaner.clean(raw))
        ]
        self.cleaning = cleaner.log
        logger = MMLogger.get_current_instance()
        name = self.metainfo['dataset_name']
        logger.info(f'{name} {self.split} ({self.ann_file}): {cleaner.log.line()}')
        items = self._select(items)
        items = self._drop_missing(items)
        if not items:
            raise ValueError(
                f'{name} {self.split}: no video is left (folds={self.folds}, '
                f'subset={self.subset!r}, missing={self.missing!r}); see the lines above'
            )
        return items if self.texts is None else add_texts(items, self.texts)

    def full_init(self) -> None:
        """Load the annotations, and show the data set to the steps that draw from all of it.

        Such a step has ``attach(dataset)``. It is called once, before there are workers.
        """
        if self._fully_initialized:
            return
        super().full_init()
        for step in self.pipeline.transforms:
            if hasattr(step, 'attach'):
                step.attach(self)

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline; random steps draw from ``results['rng']`` when the sampler seeds it."""
        results = self.get_data_info(int(idx))
        if isinstance(idx, SeededIndex):
            results['rng'] = np.random.default_rng([*idx.entropy, int(idx)])
        return self.pipeline(results)

    def _locate(self, item: dict) -> dict:
        file, folder = item.pop('file'), self.data_prefix.get('video')
        item['video_path'] = None
        if file is not None and folder is not None:
            item['video_path'] = _find_video(os.path.join(folder, file))
        return item

    def _select(self, items: list[dict]) -> list[dict]:
        if self.folds is not None:
            items = self.folds.take(items)
        if self.subset != 'all':
            held = self.subset == 'holdout'
            items = [
                item
                for item in items
                if (stable_unit(item['video_id'], 'holdout') < self.holdout_fraction) == held
            ]
        chosen = set(hash_subset([item['video_id'] for item in items], self.max_videos))
        return [item for item in items if item['video_id'] in chosen]

    def _drop_missing(self, items: list[dict]) -> list[dict]:
        """Ask the steps of the pipeline which videos they can load, whole."""
        found = find_missing(self.pipeline.transforms, items)
        for stream, count in found.absent.items():
            MMLogger.get_current_instance().info(
                f'{self.metainfo["dataset_name"]} {self.split}: {count:,} of {len(items):,} videos '
                f'have no stream {stream!r}, which is optional'
            )
        if not found.faults:
            return items
        text = f'{self.metainfo["dataset_name"]} {self.split}: {found.line(len(items))}'
        if self.missing == 'error':
            raise ValueError(
                f"{text}; mend them, or set missing='skip' in the data set to leave them out"
            )
        MMLogger.get_current_instance().warning(f"{text}; left out (missing='skip')")
        faulty = set().union(*found.faults.values())
        return [item for item in items if item['video_id'] not in faulty]


def add_texts(items: list[dict], path: str) -> list[dict]:
    """Items with what is said in each video as ``meta['text']``, where it is known.

    Args:
        path: see :func:`read_timed_text`.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"there is no {path}, the data set's texts; make it, or set texts=None: a corpus is "
            'then searched without words'
        )
    texts, faults = {}, []
    for video in read_timed_text(path, clip_seconds=1.0):  # when it is said does not matter
        faults += [video.fault] if video.fault else []
        texts[video.video_id] = ' '.join(subtitle.text for subtitle in video.subtitles)
    logger = MMLogger.get_current_instance()
    if faults:
        logger.warning(f'{len(faults):,} texts of {path} are left out: {faults[0]}, ...')
    words = [texts.get(item['video_id'], '') for item in items]
    logger.info(f'{sum(map(bool, words)):,} of {len(items):,} videos have a text in {path}')
    return [
        {**item, 'meta': {**item['meta'], 'text': text}} if text else item
        for item, text in zip(items, words)
    ]


def resolve_store(store: dict, data_root: str, split: str) -> dict:
    """The store's config with ``{split}`` filled in and its path taken from ``data_root``."""
    if 'path' not in store:
        raise ValueError(f'feature store {dict(store)} has no path')
    path = str(store['path']).replace('{split}', split)
    return {**store, 'path': os.path.join(data_root, path)}


def kind_of(part: Mapping[str, Any]) -> str:
    """The type in a config by its short name, though the config has it as ``demul_mm.<name>``."""
    return str(part.get('type')).rsplit('.', 1)[-1]


def each_of(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The config of a data set, or those of all that a ``ConcatDataset`` joins; not copied."""
    if kind_of(dataset) != 'ConcatDataset':
        yield dataset
        return
    for one in dataset['datasets']:
        yield from each_of(one)


def in_test_mode(dataset: dict[str, Any]) -> dict[str, Any]:
    """A copy of a data set's config that keeps all queries, and videos without any."""
    copied = copy.deepcopy(dataset)
    for one in each_of(copied):
        one['test_mode'] = True
    return copied


def _build_step(step: object, features: dict, data_root: str, split: str) -> object:
    """A step of the pipeline; ``LoadVideoFeature`` is given the store of its stream."""
    if not isinstance(step, dict):
        return step
    if kind_of(step) == 'LoadVideoFeature':
        stream, store = step.get('stream', 'visual'), step.get('store')
        if store is not None:
            store = resolve_store(store, data_root, split)
        elif stream in features:
            store = features[stream]
        else:
            raise ValueError(
                f'LoadVideoFeature(stream={stream!r}) has no store: give '
                f'features=dict({stream}=dict(type=..., path=...)) to the data set '
                f'(streams given: {sorted(features)})'
            )
        step = {**step, 'store': store}
    # By our registry: the root one would need the default scope to find our steps.
    return TRANSFORMS.build(step)


def _find_video(path: str) -> str:
    """The file at ``path``, or the one beside it that differs in its suffix only.

    Videos from the web come as .mp4, .mkv or .webm, whatever the annotations say.
    """
    folder, name = os.path.split(path)
    files = _files_by_stem(folder)
    same_stem = files.get(os.path.splitext(name)[0], [name])
    if name in same_stem:
        return path
    if len(same_stem) > 1:
        raise ValueError(f'{path} is not there, but {" and ".join(same_stem)}; name the right one')
    return os.path.join(folder, same_stem[0])


@functools.lru_cache(maxsize=8)
def _files_by_stem(folder: str) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    if os.path.isdir(folder or '.'):
        for name in sorted(os.listdir(folder or '.')):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in VIDEO_SUFFIXES:
                files.setdefault(stem, []).append(name)
    return files


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f'{name} is {value!r}; allowed: {", ".join(map(repr, allowed))}')
