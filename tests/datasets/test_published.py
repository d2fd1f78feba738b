"""The official files give the counts and floors of the literature."""

import functools

import numpy as np
import pytest

from demul_mm.registry import DATASETS
from tests.datasets.helpers import published

ANET = 'activitynet_captions'
CASES = {
    'anet train': (
        dict(type='ActivityNetCaptionsDataset', ann_file=(ANET, 'train.json'), split='train'),
        (10009, 37417),
        {'spans clipped to the video': 29, 'spans dropped whose end is not after their start': 4},
    ),
    'anet val_1': (
        dict(type='ActivityNetCaptionsDataset', ann_file=(ANET, 'val.json'), split='val_1'),
        (4917, 17505),
        {'spans clipped to the video': 5},
    ),
    'anet val_2': (
        dict(type='ActivityNetCaptionsDataset', ann_file=(ANET, 'test.json'), split='val_2'),
        (4885, 17031),
        {'spans clipped to the video': 1},
    ),
    'charades train': (
        dict(
            type='CharadesSTADataset',
            ann_file=('charades_sta', 'charades_sta_train.txt'),
            info_file=('charades_sta', 'Charades_v1_train.csv'),
            split='train',
        ),
        (5336, 12404),
        # Three of the 1,805 that end after the video also end before they start.
        {
            'spans clipped to the video': 1802,
            'spans dropped whose end is not after their start': 4,
            'videos without a usable query dropped': 2,
        },
    ),
    'charades test': (
        dict(
            type='CharadesSTADataset',
            ann_file=('charades_sta', 'charades_sta_test.txt'),
            info_file=('charades_sta', 'Charades_v1_test.csv'),
            split='test',
        ),
        (1334, 3720),
        {'spans clipped to the video': 562},
    ),
    'charades with CLIP features': (
        dict(
            type='CharadesSTADataset',
            ann_file=('charades_sta', 'charades_sta_cv.txt'),
            info_file=('charades_sta', 'Charades_v1_test.csv'),
            split='test',
        ),
        (1000, 2817),
        {'spans clipped to the video': 431},
    ),
    'tacos train': (
        dict(type='TACoSDataset', ann_file=('tacos', 'train.json'), split='train'),
        (75, 9790),
        {'spans clipped to the video': 43},
    ),
    'tacos val': (
        dict(type='TACoSDataset', ann_file=('tacos', 'val.json'), split='val'),
        (27, 4436),
        {},
    ),
    'tacos test': (
        dict(type='TACoSDataset', ann_file=('tacos', 'test.json'), split='test'),
        (25, 4001),
        {'spans clipped to the video': 5},
    ),
    'tacos original train': (
        dict(
            type='TACoSDataset',
            ann_file=('tacos', 'original', 'tacos_train_0_74.txt'),
            info_file=('tacos', 'train.json'),
            split='train',
        ),
        (75, 10146),
        None,
    ),
    'tacos original val': (
        dict(
            type='TACoSDataset',
            ann_file=('tacos', 'original', 'tacos_val_100_126.txt'),
            info_file=('tacos', 'val.json'),
            split='val',
        ),
        (27, 4589),
        None,
    ),
    'tacos original test': (
        dict(
            type='TACoSDataset',
            ann_file=('tacos', 'original', 'tacos_test_75_99.txt'),
            info_file=('tacos', 'test.json'),
            split='test',
        ),
        (25, 4083),
        None,
    ),
    'didemo val': (
        dict(type='DiDeMoDataset', ann_file=('didemo', 'val_data.json'), split='val'),
        (1094, 4180),
        {},
    ),
    'didemo test': (
        dict(type='DiDeMoDataset', ann_file=('didemo', 'test_data.json'), split='test'),
        (1037, 4021),
        {},
    ),
    'tvr val': (
        dict(
            type='TVRDataset',
            ann_file=('tvr', 'tvr_val_release.jsonl'),
            info_file=('tvr', 'tvr_video2dur_idx.json'),
            split='val',
        ),
        (2179, 10895),
        {},
    ),
}


@functools.lru_cache
def build(case: str):
    config = dict(CASES[case][0])
    for key in ('ann_file', 'info_file'):
        if key in config:
            config[key] = published(*config[key])
    return DATASETS.build(config)


@pytest.mark.parametrize('case', CASES)
def test_counts(case):
    _, (videos, queries), reasons = CASES[case]
    dataset = build(case)
    items = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert len(items) == videos
    assert sum(len(item['queries']) for item in items) == queries
    ids = [query_id for item in items for query_id in item['query_ids']]
    assert len(set(ids)) == queries
    for item in items:
        for query, spans in zip(item['queries'], item['gt_spans']):
            assert query == query.strip()
            assert spans.shape[1] == 2
            assert (spans[:, 0] >= 0).all()
            assert (spans[:, 0] < spans[:, 1]).all()
            assert (spans[:, 1] <= item['duration'] + 1e-9).all()
    if reasons is not None:
        assert dict(dataset.cleaning.counts) == reasons


@pytest.mark.parametrize(
    ('case', 'window', 'expected'),
    [
        ('anet val_2', (0.0, 1.0), (47.99, 21.06, 12.41, 34.57)),
        ('anet val_2', (0.30, 0.95), (48.18, 29.04, 7.31, 30.17)),
        ('charades test', (0.0, 1.0), (35.00, 0.43, 0.00, 27.13)),
        ('charades test', (0.0, 0.30), (40.30, 30.65, 15.16, 28.07)),
        ('tacos test', (0.0, 1.0), (5.90, 1.55, 0.77, 8.76)),
    ],
)
def test_floors_of_the_published_protocol(case, window, expected):
    """R@1 at IoU > .3/.5/.7 and mIoU of a constant window, in shares of the video."""
    dataset = build(case)
    ious = []
    for index in range(len(dataset)):
        item = dataset.get_data_info(index)
        start, end = window
        for spans in item['gt_spans']:
            low, high = spans[0] / item['duration']
            inter = max(0.0, min(end, high) - max(start, low))
            ious.append(inter / (max(end, high) - min(start, low)))
    ious = np.array(ious)
    found = [100 * (ious > threshold).mean() for threshold in (0.3, 0.5, 0.7)]
    np.testing.assert_allclose([*found, 100 * ious.mean()], expected, atol=0.0051)


def test_val_1_and_val_2_share_videos_but_not_sentences():
    first, second = build('anet val_1'), build('anet val_2')
    one = {item['video_id']: item for item in map(first.get_data_info, range(len(first)))}
    two = {item['video_id']: item for item in map(second.get_data_info, range(len(second)))}
    assert set(two) < set(one)
    assert first.metainfo['split'] == 'val_1'
    assert second.metainfo['split'] == 'val_2'


def test_didemo_keeps_every_vote_and_tells_files_of_one_flickr_id_apart():
    dataset = build('didemo val')
    items = {item['video_id']: item for item in map(dataset.get_data_info, range(len(dataset)))}
    first = items['35034348999@N01_6060447507_dc1a90b8ef.mov']
    index = first['query_ids'].index('49152')
    np.testing.assert_array_equal(first['gt_spans'][index], [[5, 10], [5, 10], [5, 10], [0, 5]])
    flickr = {}
    for video_id in items:
        flickr.setdefault(video_id.split('_')[1], []).append(video_id)
    assert sum(len(files) == 2 for files in flickr.values()) == 29
    assert {item['duration'] for item in items.values()} == {25.0, 30.0}


def test_query_ids_number_the_sentences_of_the_file():
    """A dropped sentence leaves a gap, so that ids fit other people's predictions."""
    dataset = build('anet train')
    items = {item['video_id']: item for item in map(dataset.get_data_info, range(len(dataset)))}
    ids = items['v_N7ppHQNikv8']['query_ids']
    assert 'v_N7ppHQNikv8#2' not in ids
    assert 'v_N7ppHQNikv8#3' in ids
