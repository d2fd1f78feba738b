"""A sampler that puts videos that are hard to tell apart into one batch."""

from collections.abc import Iterator, Mapping, Sequence, Sized

import torch

from demul_mm.datasets.samplers.seeded import SeededIndex, SeededSampler
from demul_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class HardVideoSampler(SeededSampler):
    """``SeededSampler`` that lets each video be followed by the ones it is mistaken for.

    Videos of a batch are each other's negatives, in the shared space and in fusion; with random
    batches of a large data set most of them are easy. ``HardVideoMiningHook`` sets the rivals
    before an epoch; without any this is ``SeededSampler``. Every video still comes once an epoch.

    Args:
        dataset, shuffle, seed, round_up: see :class:`SeededSampler`.
        group: videos that stand together, at most: one and its rivals.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        group: int = 4,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        if group < 1:
            raise ValueError(f'group is {group}; a group has at least one video')
        self.group = group
        self.rivals: Mapping[int, Sequence[int]] = {}

    def __iter__(self) -> Iterator[int]:
        if not self.rivals:
            yield from super().__iter__()
            return
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        number = len(self.dataset)
        order = torch.randperm(number, generator=generator).tolist()
        groups = group_by_rivals(order if self.shuffle else range(number), self.rivals, self.group)
        flat = [index for members in groups for index in members]
        flat = (flat * -(-self.total_size // number))[: self.total_size]
        # A rank takes a stretch, not every n-th video: rivals must share a batch. Without round_up
        # the first ranks have one more.
        share, more = divmod(self.total_size, self.world_size)
        first = self.rank * share + min(self.rank, more)
        own = flat[first : first + self.num_samples]
        entropy = (int(self.seed), int(self.epoch))
        yield from (SeededIndex(index, entropy) for index in own)


def group_by_rivals(
    order: Sequence[int], rivals: Mapping[int, Sequence[int]], size: int
) -> list[list[int]]:
    """Cut ``order`` into groups of a video and its rivals that are still free, hardest first."""
    taken: set[int] = set()
    groups = []
    for index in order:
        if index in taken:
            continue
        members = [index]
        taken.add(index)
        for rival in rivals.get(index, ()):
            if len(members) == size:
                break
            if rival not in taken:
                taken.add(rival)
                members.append(rival)
        groups.append(members)
    return groups
