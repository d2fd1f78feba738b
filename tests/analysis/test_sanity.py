"""Each probe takes away what it names, and nothing else."""

import pytest
import torch
from torch.utils.data import DataLoader

from demul_mm.analysis.sanity import PROBES, SanitySplit, probed
from demul_mm.structures import MomentDataSample

LENGTHS = (6, 4, 9)
ASKED = (['a', 'b', 'c'], [], ['d', 'e'])


class Split:
    """Three videos, the second without a query; the visual stream tells which clip is which."""

    def __len__(self) -> int:
        return len(LENGTHS)

    def __getitem__(self, index: int) -> dict:
        clips = torch.arange(LENGTHS[index]) + 100.0 * index
        sample = MomentDataSample()
        sample.set_metainfo(dict(video_id=f'v{index}'))
        sample.queries = list(ASKED[index])
        visual = torch.stack([clips, -clips], 1)
        return dict(inputs=dict(visual=visual, text=None), data_samples=sample)


@pytest.mark.parametrize('probe', PROBES)
def test_what_is_not_replaced_stays(probe: str) -> None:
    for before, after in zip(map(Split().__getitem__, range(3)), _all(probe), strict=True):
        clips = before['inputs']['visual'], after['inputs']['visual']
        queries = before['data_samples'].queries, after['data_samples'].queries
        assert clips[0].shape == clips[1].shape
        assert clips[0].dtype == clips[1].dtype
        assert len(queries[0]) == len(queries[1])
        assert after['inputs']['text'] is None
        of_query = probe == 'other sentence'
        assert torch.equal(*clips) == of_query
        assert (queries[0] == queries[1]) == (not of_query or not queries[0])


def test_shuffled_has_the_same_clips_in_the_same_order_each_time() -> None:
    for before, after, again in zip(
        map(Split().__getitem__, range(3)), _all('shuffled'), _all('shuffled'), strict=True
    ):
        clips = after['inputs']['visual']
        assert torch.equal(clips.sort(0).values, before['inputs']['visual'].sort(0).values)
        assert torch.equal(clips, again['inputs']['visual'])


def test_other_video_covers_the_whole_of_the_next() -> None:
    first, _, last = _all('other video')
    assert first['inputs']['visual'][:, 0].tolist() == [100, 101, 101, 102, 103, 103]
    assert last['inputs']['visual'][[0, -1], 0].tolist() == [0, 5]  # after the last, the first


def test_other_video_has_the_streams_that_are_replaced() -> None:
    class Gap(Split):
        """The second video lacks what the others have."""

        def __getitem__(self, index: int) -> dict:
            item = super().__getitem__(index)
            streams = item['inputs']
            return (
                item if index != 1 else dict(item, inputs=dict(visual=None, text=streams['visual']))
            )

    first = SanitySplit(Gap(), 'other video')[0]
    assert first['inputs']['visual'][0, 0] == 200  # of the third
    with pytest.raises(ValueError, match='no other video'):
        SanitySplit(Gap(), 'other video')[1]


def test_length_alone_is_the_same_clip_everywhere() -> None:
    clips = torch.cat([item['inputs']['visual'] for item in _all('length alone')])
    every = torch.cat([item['inputs']['visual'] for item in map(Split().__getitem__, range(3))])
    torch.testing.assert_close(clips, every.mean(0).expand(19, 2))


def test_other_sentence_is_of_the_next_video_that_is_asked() -> None:
    assert [item['data_samples'].queries for item in _all('other sentence')] == [
        ['d', 'e', 'd'],
        [],
        ['a', 'b'],
    ]


def test_probed_loader_has_the_same_batches() -> None:
    loader = DataLoader(Split(), batch_size=2, collate_fn=list)  # type: ignore[arg-type]  # no Dataset
    assert [len(batch) for batch in probed(loader, 'noise')] == [2, 1]


def test_unknown_probe() -> None:
    with pytest.raises(ValueError, match="probe is 'blur'; allowed: 'shuffled'"):
        SanitySplit(Split(), 'blur')


def _all(probe: str) -> list[dict]:
    split = SanitySplit(Split(), probe)
    return [split[index] for index in range(3)]
