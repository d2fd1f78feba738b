"""A sampler that makes the random steps of a pipeline repeatable."""

from collections.abc import Iterator, Sized

from mmengine.dataset import ClassBalancedDataset, ConcatDataset, DefaultSampler, RepeatDataset

from demul_mm.registry import DATA_SAMPLERS


class SeededIndex(int):
    """The index of an item together with what its random steps are seeded with.

    Attributes:
        entropy (tuple[int, ...]): seed of the run and epoch.
    """

    entropy: tuple[int, ...]

    def __new__(cls, value: int, entropy: tuple[int, ...] = ()) -> 'SeededIndex':
        index = super().__new__(cls, value)
        index.entropy = entropy
        return index


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """``DefaultSampler`` whose indices carry (seed, epoch).

    What a pipeline draws for an item then depends on the seed, the epoch and the item, not on the
    number of workers, nor on how far a worker had got when the run was killed: a resumed run
    draws what the uninterrupted one would have drawn.

    Args:
        dataset: the data set.
        shuffle: whether to shuffle it each epoch.
        seed: the same in all processes; None: a common random one.
        round_up: repeat items so that each process gets equally many.

    Raises:
        TypeError: the data set is one of mmengine's around others, which would lose the seed.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True
    ) -> None:
        remedy = ''
        if isinstance(dataset, RepeatDataset | ClassBalancedDataset):
            remedy = 'give the data set itself, and more epochs'
        elif getattr(type(dataset), '__getitem__', None) is ConcatDataset.__getitem__:  # not ours
            remedy = "join data sets with demul_mm's"
        if remedy:
            raise TypeError(
                f"mmengine's {type(dataset).__name__} asks for its items without their seed: "
                f'{remedy}'
            )
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)

    def __iter__(self) -> Iterator[int]:
        entropy = (int(self.seed), int(self.epoch))
        return (SeededIndex(index, entropy) for index in super().__iter__())
