"""Every video comes once an epoch, and rivals come together."""

from itertools import pairwise

import mmengine.dataset
import pytest
from mmengine.dataset import BaseDataset, RepeatDataset

from demul_mm.datasets import ConcatDataset
from demul_mm.datasets.samplers import HardVideoSampler, SeededIndex, SeededSampler
from demul_mm.datasets.samplers.grouped import group_by_rivals

DATA = list(range(23))


def sampler(rank: int = 0, world: int = 1, **options: object) -> HardVideoSampler:
    found = HardVideoSampler(DATA, seed=3, **options)
    found.rank, found.world_size = rank, world
    found.num_samples = -(-len(DATA) // world)
    found.total_size = found.num_samples * world
    return found


def pairs() -> dict[int, list[int]]:
    """Each video is mistaken for the one with the next number, in pairs."""
    return {i: [i ^ 1] for i in DATA if (i ^ 1) in DATA}


def test_groups_hold_a_video_and_its_free_rivals() -> None:
    groups = group_by_rivals([2, 0, 1, 3, 4], {2: [3, 9, 0], 0: [2, 1], 4: [0]}, size=3)
    assert groups == [[2, 3, 9], [0, 1], [4]]


@pytest.mark.parametrize('shuffle', [True, False])
def test_every_video_comes_once(shuffle: bool) -> None:
    found = sampler(shuffle=shuffle)
    found.rivals = pairs()
    order = list(found)
    assert sorted(order) == DATA
    assert all(isinstance(i, SeededIndex) and i.entropy == (3, 0) for i in order)


def test_rivals_stand_side_by_side_in_another_order_each_epoch() -> None:
    found = sampler()
    found.rivals = pairs()
    orders = []
    for epoch in (0, 1):
        found.set_epoch(epoch)
        orders.append(list(found))
        place = {video: p for p, video in enumerate(orders[-1])}
        assert all(abs(place[i] - place[r]) == 1 for i, (r,) in found.rivals.items())
    assert orders[0] != orders[1]


def test_ranks_share_the_videos_and_each_has_equally_many() -> None:
    shares = []
    for rank in range(3):
        found = sampler(rank, 3)
        found.rivals = pairs()
        shares.append(list(found))
        assert len(shares[-1]) == len(found)
    together = [i for share in shares for i in share]
    assert set(together) == set(DATA)
    assert len(together) == 24  # one comes twice, to make them equal
    side_by_side = [share for share in shares for a, b in pairwise(share) if a ^ 1 == b]
    assert len(side_by_side) >= 11 - 2  # no more than the borders between ranks are lost


@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize(('number', 'world'), [(5, 2), (9, 4), (3, 4), (2, 5), (23, 3)])
def test_shares_are_those_of_the_plain_sampler(
    number: int, world: int, round_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, lengths = [], []
    for rank in range(world):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda r=rank: (r, world))
        found = HardVideoSampler(range(number), seed=3, round_up=round_up)
        plain = list(found)
        found.rivals = {0: [1]}
        own = list(found)
        assert len(own) == len(plain) == len(found)
        together += own
        lengths.append(len(own))
    assert set(together) == set(range(number))
    assert len(together) == (world * lengths[0] if round_up else number)


def test_without_rivals_it_is_the_plain_sampler() -> None:
    plain = SeededSampler(DATA, seed=3)
    plain.set_epoch(2)
    found = sampler()
    found.set_epoch(2)
    assert list(found) == list(plain)


class Named(BaseDataset):
    def load_data_list(self) -> list[dict]:
        return [{}, {}]


@pytest.mark.parametrize('kind', [SeededSampler, HardVideoSampler])
def test_a_data_set_that_forgets_the_seed_is_refused(kind: type[SeededSampler]) -> None:
    repeated = RepeatDataset(BaseDataset(lazy_init=True), times=2, lazy_init=True)
    with pytest.raises(TypeError, match='RepeatDataset asks for its items without their seed'):
        kind(repeated)
    named = [Named(metainfo=dict(dataset_name='a', split=split)) for split in 'xy']
    assert len(kind(ConcatDataset(named))) == 4  # ours hands the seed on
    with pytest.raises(TypeError, match=r"ConcatDataset asks .*: join data sets with demul_mm's"):
        kind(mmengine.dataset.ConcatDataset(named[:1]))


def test_a_group_has_a_video() -> None:
    with pytest.raises(ValueError, match='group is 0'):
        sampler(group=0)
