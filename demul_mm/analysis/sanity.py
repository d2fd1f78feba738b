"""What a model answers when it cannot see the video, or not the right one.

A model that answers as well then has learnt the habits of annotators, or reads the sentence alone
(Otani et al., "Uncovering Hidden Challenges in Query-Based Video Moment Retrieval", BMVC 2020).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from demul_mm.datasets.folds import stable_unit

# Videos of which the mean and the spread of features are taken.
KNOWN_VIDEOS = 64


class Items(Protocol):
    """Items by their place: ``dict(inputs={stream: (T, d) or None}, data_samples=...)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


class SanitySplit(Dataset):
    """A split in which what is known of a video, or what is asked, is replaced.

    Args:
        dataset: the split as it is.
        probe: one of ``PROBES``:
            'shuffled': the clips of a video in another order;
            'other video': the clips of the next video that has the same streams, as many as there
                were;
            'noise': normal values with the mean and spread of each feature over the split;
            'length alone': the mean clip of the split, as many as there were;
            'other sentence': the queries of the next video that has some, in turn.

    Raises:
        ValueError: there is no such probe.
    """

    def __init__(self, dataset: Items, probe: str) -> None:
        if probe not in PROBES:
            raise ValueError(f'probe is {probe!r}; allowed: {", ".join(map(repr, PROBES))}')
        self.dataset = dataset
        self._change = PROBES[probe]
        if probe in ('noise', 'length alone'):
            self._change = partial(self._change, statistics(dataset))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = dict(self.dataset[index])
        self._change(self, index, item)
        return item

    def following(self, index: int, suits: Callable[[dict], object]) -> dict:
        """The next video that suits; after the last one comes the first."""
        for step in range(1, len(self)):
            item = self.dataset[(index + step) % len(self)]
            if suits(item):
                return item
        raise ValueError(
            'no other video of the split has the same streams, or a query; take more videos'
        )


def probed(loader: DataLoader, probe: str) -> DataLoader:
    """The same loader over the :class:`SanitySplit` of its data set."""
    return DataLoader(
        SanitySplit(cast(Items, loader.dataset), probe),
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


def statistics(dataset: Items) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation ``(d,)`` of each stream, over clips of its first videos."""
    rows: dict[str, list[Tensor]] = {}
    for index in range(min(KNOWN_VIDEOS, len(dataset))):
        for name, clips in _streams(dataset[index]).items():
            rows.setdefault(name, []).append(clips.float())
    return {name: (torch.cat(x).mean(0), torch.cat(x).std(0)) for name, x in rows.items()}


def _streams(item: dict) -> dict[str, Tensor]:
    return {name: clips for name, clips in item['inputs'].items() if clips is not None}


def _rng(item: dict) -> torch.Generator:
    """Random numbers of a video that are the same in every run."""
    seed = int(2**31 * stable_unit(str(item['data_samples'].video_id), 'sanity'))
    return torch.Generator().manual_seed(seed)


def _replace(item: dict, streams: Mapping[str, Tensor]) -> None:
    item['inputs'] = {**item['inputs'], **streams}


def _shuffled(split: SanitySplit, index: int, item: dict) -> None:
    streams, rng = _streams(item), _rng(item)
    order = torch.randperm(max(map(len, streams.values())), generator=rng)  # alike in all streams
    _replace(item, {name: x[order[order < len(x)]] for name, x in streams.items()})


def _other_video(split: SanitySplit, index: int, item: dict) -> None:
    own = _streams(item)
    other = _streams(split.following(index, lambda one: own.keys() <= _streams(one).keys()))
    found = {}
    for name, x in own.items():
        middle = (torch.arange(len(x), dtype=torch.float64) + 0.5) * len(other[name]) / len(x)
        found[name] = other[name][middle.long()]
    _replace(item, found)


def _noise(
    known: Mapping[str, tuple[Tensor, Tensor]], split: SanitySplit, index: int, item: dict
) -> None:
    rng, found = _rng(item), {}
    for name, x in _streams(item).items():
        mean, spread = known[name]
        found[name] = (mean + spread * torch.randn(x.shape, generator=rng)).to(x)
    _replace(item, found)


def _length_alone(
    known: Mapping[str, tuple[Tensor, Tensor]], split: SanitySplit, index: int, item: dict
) -> None:
    streams = _streams(item)
    _replace(item, {name: known[name][0].expand(x.shape).to(x) for name, x in streams.items()})


def _other_sentence(split: SanitySplit, index: int, item: dict) -> None:
    sample = item['data_samples']
    if not sample.queries:
        return
    asked = split.following(index, lambda one: one['data_samples'].queries)['data_samples'].queries
    item['data_samples'] = sample.clone()
    item['data_samples'].queries = [asked[i % len(asked)] for i in range(len(sample.queries))]


PROBES: dict[str, Callable[..., None]] = {
    'shuffled': _shuffled,
    'other video': _other_video,
    'noise': _noise,
    'length alone': _length_alone,
    'other sentence': _other_sentence,
}
