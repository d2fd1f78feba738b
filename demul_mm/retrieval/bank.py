"""The videos of a corpus, encoded when they are asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset

from demul_mm.datasets import MomentDataset
from demul_mm.index.entry import VideoEntry
from demul_mm.models.localizers import DeMUL
from demul_mm.retrieval.encoding_cache import EncodingCache, hash_of
from demul_mm.retrieval.encodings import EncodedVideo, encode_batch
from demul_mm.retrieval.entries import make_entry
from demul_mm.structures.names import as_names

# What reading a video may raise: it is reported, and the other videos go on.
BROKEN = (OSError, ValueError, KeyError)


class VideoSource(Protocol):
    """Where the inputs of videos come from."""

    def ids(self) -> Sequence[str]:
        """All videos, in a fixed order."""
        ...

    def load(self, video_id: str) -> dict:
        """``dict(inputs={stream: Tensor}, data_samples=MomentDataSample)`` of one video."""
        ...

    def key(self, video_id: str) -> str:
        """What identifies the content of a video in a cache.

        Raises:
            OSError, ValueError, KeyError: it cannot be looked at.
        """
        ...


class DatasetVideos:
    """The videos of a data set, through its own pipeline.

    Args:
        dataset: in test mode.
    """

    def __init__(self, dataset: MomentDataset) -> None:
        self.dataset = dataset
        parts = getattr(dataset, 'datasets', [dataset])  # of a ConcatDataset
        self._recipe = hash_of([part.recipe for part in parts])
        steps = [step for part in parts for step in part.pipeline.transforms]
        self._loaders = [step for step in steps if hasattr(step, 'state')]
        self._facts: dict[str, str] = {}
        numbers = range(len(dataset))
        self._places = {str(dataset.get_data_info(i)['video_id']): i for i in numbers}

    def ids(self) -> list[str]:
        return list(self._places)

    def load(self, video_id: str) -> dict:
        if video_id not in self._places:
            name = self.dataset.metainfo['dataset_name']
            raise KeyError(
                f'video {video_id!r} is not in {name} {self.dataset.split}; give the data set or '
                'the videos that the index was made of'
            )
        return self.dataset[self._places[video_id]]

    def key(self, video_id: str) -> str:
        if video_id not in self._places:
            return video_id
        info = self.dataset.get_data_info(self._places[video_id])
        if video_id not in self._facts:  # metadata may be long
            self._facts[video_id] = hash_of([self._recipe, info['duration'], info['meta']])
        states = [step.state(info) for step in self._loaders]
        return hash_of([self._facts[video_id], video_id, states])


class _Items(Dataset):
    """Items of a source, or why they cannot be had."""

    def __init__(self, source: VideoSource, ids: Sequence[str]) -> None:
        self.source = source
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[str, dict | None, str]:
        video_id = self.ids[index]
        try:
            return video_id, self.source.load(video_id), ''
        except BROKEN as error:
            return video_id, None, reason(error)


@dataclass(eq=False)
class VideoBank:
    """Encoded videos by id: from the cache, or read and encoded now.

    A video that cannot be read is reported, noted in ``failures`` and left out.

    Args:
        model: in eval mode.
        source: where the videos come from.
        cache: keeps their encodings.
        batch_size: videos encoded at once.
        num_workers: processes that read them; 0 for none.
    """

    model: DeMUL
    source: VideoSource
    cache: EncodingCache
    batch_size: int = 16
    num_workers: int = 0

    def __post_init__(self) -> None:
        self.failures: dict[str, str] = {}

    def __call__(self, ids: Sequence[str]) -> dict[str, EncodedVideo]:
        """The videos that can be had, by the id they were asked for by."""
        return dict(self.stream(ids))

    def stream(self, ids: Sequence[str]) -> Iterator[tuple[str, EncodedVideo]]:
        """The same one after the other, in the order of ``ids``, in bounded memory."""
        ids, block = as_names(ids, 'video ids'), 8 * self.batch_size
        for start in range(0, len(ids), block):
            part = ids[start : start + block]
            have: dict[str, EncodedVideo] = {}
            lacking: dict[str, str] = {}
            for video_id in dict.fromkeys(part):
                try:
                    key = self.source.key(video_id)
                except BROKEN as error:
                    self._fail(video_id, reason(error))
                    continue
                kept = self.cache.get(key)
                if kept is None:
                    lacking[video_id] = key
                else:
                    self.failures.pop(video_id, None)
                    have[video_id] = kept
            have.update(self._encode(lacking))
            yield from ((i, have[i]) for i in part if i in have)

    def _encode(self, keys: Mapping[str, str]) -> Iterator[tuple[str, EncodedVideo]]:
        """Videos that are kept from now on, by the keys that they had before they were read."""
        if not keys:
            return
        loader = DataLoader(
            _Items(self.source, list(keys)),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=_as_is,
        )
        for rows in loader:
            good = [(video_id, item) for video_id, item, _ in rows if item is not None]
            for video_id, item, why in rows:
                if item is None:
                    self._fail(video_id, why)
            if not good:
                continue
            names = [video_id for video_id, _ in good]
            videos = encode_batch(self.model, pseudo_collate([item for _, item in good]))
            for video_id, video in zip(names, videos):
                self.failures.pop(video_id, None)
                yield video_id, self.cache.put(keys[video_id], video)

    def _fail(self, video_id: str, why: str) -> None:
        self.failures[video_id] = why
        MMLogger.get_current_instance().warning(f'video {video_id} is left out: {why}')


class BankEntries:
    """The videos of a bank as an :class:`~demul_mm.index.EntrySource` to build an index from.

    Args:
        bank: encodes the videos.
        levels: scales of the pyramid that are indexed; see :func:`make_entry`.
    """

    def __init__(self, bank: VideoBank, levels: Sequence[int] | None = None) -> None:
        self.bank = bank
        self.levels = levels

    def ids(self) -> Sequence[str]:
        return self.bank.source.ids()

    def load(self, video_ids: Sequence[str]) -> Iterable[VideoEntry]:
        num_levels = self.bank.model.points.num_levels
        for _, video in self.bank.stream(video_ids):
            yield make_entry(video, num_levels, self.levels)


def reason(error: BaseException) -> str:
    """What an error says; a KeyError without its quotes."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _as_is(rows: list[Any]) -> list[Any]:
    return rows
