"""The rules that hold for every data set, on the JSONL form."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from demul_mm.datasets import (
    AnnotationError,
    JsonlMomentDataset,
    PackedWriter,
    validate_jsonl,
)
from demul_mm.datasets.folds import fold_of, hash_subset, stable_unit
from demul_mm.datasets.samplers import SeededSampler
from tests.datasets.helpers import video, write_jsonl


def queries(*pairs):
    return [{'query': text, 'spans': spans} for text, spans in pairs]


def build(tmp_path, rows, **options):
    options = {'split': 'train', **options}
    return JsonlMomentDataset(write_jsonl(tmp_path / 'a.jsonl', rows), **options)


def test_item_of_the_jsonl_form(tmp_path):
    row = video('kitchen', video='k.mp4', meta={'camera': 'top'})
    row['queries'][1]['query_id'] = 'mine'
    write_jsonl(tmp_path / 'a.jsonl', [row])
    dataset = JsonlMomentDataset(
        'a.jsonl',
        split='val',
        name='kitchens',
        data_root=str(tmp_path),
        data_prefix={'video': 'films'},
    )
    item = dataset.get_data_info(0)
    assert item['query_ids'] == ['kitchen#0', 'mine']
    assert item['queries'] == ['a dog runs', 'a cat sleeps']
    np.testing.assert_array_equal(item['gt_spans'][1], [[4, 20]])
    assert item['video_path'] == str(tmp_path / 'films' / 'k.mp4')
    assert item['meta'] == {'camera': 'top'}
    assert item['sample_idx'] == 0
    info = dataset.metainfo
    assert (info['dataset_name'], info['split'], info['subset']) == ('kitchens', 'val', 'all')


def test_a_video_that_came_since_is_found(tmp_path):
    options = dict(data_prefix={'video': str(tmp_path)})
    rows = [video('a', video='a.mp4')]
    assert build(tmp_path, rows, **options).get_data_info(0)['video_path'].endswith('a.mp4')
    (tmp_path / 'a.webm').touch()
    assert build(tmp_path, rows, **options).get_data_info(0)['video_path'].endswith('a.webm')


def test_what_is_null_is_as_if_it_were_not_there(tmp_path):
    row = video('a', video=None, meta=None)
    row['queries'][0]['query_id'] = None
    row['queries'][1]['query_id'] = 7
    item = build(tmp_path, [row]).get_data_info(0)
    assert item['query_ids'] == ['a#0', '7']
    assert (item['video_path'], item['meta']) == (None, {})


def test_a_video_is_found_under_another_suffix(tmp_path):
    for name in ('a.webm', 'b.mp4', 'b.mkv'):
        (tmp_path / name).touch()
    rows = [video(name, video=f'{name}.mp4') for name in 'abc']
    dataset = build(tmp_path, rows, data_prefix={'video': str(tmp_path)})
    paths = [dataset.get_data_info(i)['video_path'] for i in range(3)]
    assert paths == [str(tmp_path / name) for name in ('a.webm', 'b.mp4', 'c.mp4')]
    assert build(tmp_path, rows).get_data_info(0)['video_path'] is None


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda r: r.pop('duration'), ["key 'duration' is missing", 'line 2', 'add it']),
        (lambda r: r.pop('queries'), ["key 'queries' is missing", 'line 2']),
        (lambda r: r.update(title='x'), ["unknown key 'title'", 'allowed', "'meta'"]),
        (lambda r: r.update(meta=['x']), ["'meta' is ['x']", 'expected dict', 'line 2']),
        (lambda r: r.update(meta=''), ["'meta' is ''", 'expected dict']),
        (lambda r: r.update(duration=-1), ['duration -1', 'more than 0']),
        (lambda r: r.update(duration='long'), ["'duration' is 'long'", 'expected int or float']),
        (lambda r: r.update(video_id='a'), ["video 'a' occurs twice"]),
        (
            lambda r: r.update(queries=queries(('x', [[3, 30]]))),
            ['line 2', 'video b, query 0', '[3, 30] of 20 s', 'start < end <= duration'],
        ),
        (
            lambda r: r.update(queries=queries(('x', [[5, 5]]))),
            ['[5, 5] of 20 s', 'strict=False'],
        ),
        (lambda r: r.update(queries=queries(('  ', [[1, 2]]))), ['no words', 'line 2']),
        (lambda r: r.update(queries=queries((None, [[1, 2]]))), ["'query' is None"]),
        (lambda r: r.update(queries=queries(('x', [[1, 2, 3]]))), ['[1, 2, 3]', '[start, end]']),
        (lambda r: r.update(queries=queries(('x', [1, 2]))), ['[[start, end], ...]']),
        (lambda r: r.update(queries=queries(('x', [[1, float('nan')]]))), ['[start, end]']),
        (lambda r: r['queries'][0].pop('spans'), ["key 'spans' is missing"]),
        (lambda r: r.update(video=5), ["'video' is 5", 'expected str']),
        (lambda r: r.update(duration=10**400), ["'duration' is a number of 401 digits"]),
        (lambda r: r.update(queries=queries(('x', [[1, 10**400]]))), ['[start, end]', 'line 2']),
        (lambda r: r['queries'][0].update(query_id=['x']), ["'query_id' is ['x']"]),
        (lambda r: r['queries'][0].update(span=[1, 2]), ["unknown key 'span'"]),
    ],
)
def test_a_fault_is_one_clear_line(tmp_path, change, expected):
    row = video('b')
    change(row)
    with pytest.raises(AnnotationError) as error:
        build(tmp_path, [video('a'), row])
    message = str(error.value)
    assert 'a.jsonl' in message
    assert '\n' not in message
    for part in expected:
        assert part in message
    assert validate_jsonl(str(tmp_path / 'a.jsonl')) == [message]


def test_a_number_of_thousands_of_digits_is_a_fault_of_its_line(tmp_path):
    (tmp_path / 'a.jsonl').write_text('{"video_id": "a", "duration": 1' + '0' * 5000 + '}')
    (fault,) = validate_jsonl(str(tmp_path / 'a.jsonl'))
    assert 'line 1: not valid JSON' in fault


def test_validator_lists_every_fault(tmp_path):
    path = tmp_path / 'a.jsonl'
    bad = video('b', duration=0)
    worse = video('c', queries=queries(('x', [[1, 99]])))
    path.write_text('\n'.join([json.dumps(video('a')), '{', json.dumps(bad), json.dumps(worse)]))
    faults = validate_jsonl(str(path))
    places = [fault.split(': ')[1] for fault in faults]
    assert places == ['line 2', 'line 3', 'line 4 (video c, query 0)']
    assert 'not valid JSON' in faults[0]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_files_of_other_encodings_are_read(tmp_path, encoding):
    """As Windows writes them; and a separator of lines within a sentence does not end the line."""
    row = video('猫', queries=queries(('a dog\u2028runs', [[1, 2]])))
    text = json.dumps(row, ensure_ascii=False) + '\n' + json.dumps(video('b'))
    (tmp_path / 'a.jsonl').write_bytes(text.encode(encoding))
    dataset = JsonlMomentDataset(str(tmp_path / 'a.jsonl'), split='train')
    assert dataset.get_data_info(0)['video_id'] == '猫'
    assert dataset.get_data_info(0)['queries'] == ['a dog runs']
    assert len(dataset) == 2


def test_what_is_no_text_is_an_error_of_the_annotations(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes('{"video_id": "über"}'.encode('latin-1'))
    with pytest.raises(AnnotationError, match=r'a.jsonl: not utf-8.*save it as UTF-8'):
        JsonlMomentDataset(str(tmp_path / 'a.jsonl'), split='train')


def test_mending_clips_and_drops_and_says_so(tmp_path):
    rows = [
        video(
            'a',
            queries=queries(
                ('past', [[15, 25]]),
                ('before', [[-3, 5]]),
                ('empty', [[7, 7]]),
                ('outside', [[21, 25]]),
                (' ', [[1, 2]]),
                ('two', [[1, 2], [9, 8]]),
                ('rounding', [[1, 20.0005]]),
            ),
        ),
        video('b', queries=queries(('x', [[9, 3]]))),
    ]
    dataset = build(tmp_path, rows, strict=False)
    item = dataset.get_data_info(0)
    assert len(dataset) == 1
    assert item['queries'] == ['past', 'before', 'two', 'rounding']
    assert item['query_ids'] == ['a#0', 'a#1', 'a#5', 'a#6']
    assert [spans.tolist() for spans in item['gt_spans']] == [
        [[15, 20]],
        [[0, 5]],
        [[1, 2]],
        [[1, 20]],
    ]
    log = dataset.cleaning
    assert log.videos == [2, 1]
    assert log.queries == [8, 4]
    assert log.counts == {
        'spans clipped to the video': 3,
        'spans dropped whose end is not after their start': 3,
        'spans dropped that lie outside the video': 1,
        'empty sentences dropped': 1,
        'videos without a usable query dropped': 1,
    }
    line = log.line()
    assert 'kept 1 of 2 videos and 4 of 8 queries' in line
    assert '[15, 25] of 20 s' in line
    assert '\n' not in line


def test_queries_without_truth_are_for_testing_only(tmp_path):
    asked = queries(('known', [[1, 2]]), ('unknown', []))
    rows = [video('a', queries=asked), video('b', queries=[])]
    train = build(tmp_path, rows)
    assert [info['queries'] for info in map(train.get_data_info, range(len(train)))] == [['known']]
    assert '1 videos without a query left out of training (b)' in train.cleaning.line()
    test = build(tmp_path, rows, test_mode=True)
    assert test.get_data_info(0)['queries'] == ['known', 'unknown']
    assert test.get_data_info(0)['gt_spans'][1].shape == (0, 2)
    assert len(test) == 2  # a video without queries is part of the corpus


def test_fit_and_holdout_divide_the_videos(tmp_path):
    rows = [video(f'v{i}') for i in range(600)]
    ids = {}
    for subset in ('fit', 'holdout', 'all'):
        dataset = build(tmp_path, rows, subset=subset)
        ids[subset] = [dataset.get_data_info(i)['video_id'] for i in range(len(dataset))]
    assert set(ids['fit']).isdisjoint(ids['holdout'])
    assert sorted(ids['fit'] + ids['holdout']) == sorted(ids['all'])
    assert 40 <= len(ids['holdout']) <= 80
    # A video stays on its side whatever other videos there are.
    fewer = build(tmp_path, rows[::2], subset='holdout')
    kept = {fewer.get_data_info(i)['video_id'] for i in range(len(fewer))}
    assert kept == set(ids['holdout']) & {row['video_id'] for row in rows[::2]}


def test_max_videos_grows_by_adding(tmp_path):
    rows = [video(f'v{i}') for i in range(100)]
    small = build(tmp_path, rows, max_videos=10)
    large = build(tmp_path, rows, max_videos=30)
    ids = [[d.get_data_info(i)['video_id'] for i in range(len(d))] for d in (small, large)]
    assert [len(x) for x in ids] == [10, 30]
    assert set(ids[0]) < set(ids[1])
    assert ids[1] == sorted(ids[1], key=lambda v: int(v[1:]))  # in the file's order
    assert hash_subset(['a', 'b'], None) == ['a', 'b']


def test_stable_unit_never_changes():
    assert stable_unit('v_QOlSCBRmfWY', 'holdout') == pytest.approx(0.597150447, abs=1e-8)


def test_the_fold_of_a_video_never_changes():
    folds = {'3MSZA': 4, 'YSKX3': 1, 'RoripwjYFp8_60.0_210.0': 0}
    assert {video_id: fold_of(video_id, 5) for video_id in folds} == folds


def test_folds_test_each_video_once_and_hold_out_of_the_others(tmp_path):
    rows = [video(f'v{i}') for i in range(300)]
    tested = []
    for test in range(3):
        ids = {}
        for part, subset in (('test', 'all'), ('train', 'fit'), ('train', 'holdout')):
            folds = dict(num=3, test=test, part=part)
            dataset = build(tmp_path, rows, folds=folds, subset=subset)
            assert dataset.metainfo['folds'] == folds
            ids[subset] = [dataset.get_data_info(i)['video_id'] for i in range(len(dataset))]
        together = [*ids['all'], *ids['fit'], *ids['holdout']]
        assert sorted(together) == sorted(row['video_id'] for row in rows)
        assert 80 <= len(ids['all']) <= 120
        assert 10 <= len(ids['holdout']) <= 30
        tested += ids['all']
    assert len(tested) == len(set(tested)) == 300


def test_a_fold_is_searched_for_among_all_videos(tmp_path):
    rows = [video(f'v{number}') for number in range(12)]
    dataset = build(tmp_path, rows, folds=dict(num=3, test=1, part='corpus'))
    assert [item['video_id'] for item in dataset] == [row['video_id'] for row in rows]
    asked = {item['video_id'] for item in dataset if item['queries']}
    assert asked == {row['video_id'] for row in rows if fold_of(row['video_id'], 3) == 1}
    for item in dataset:
        assert len(item['query_ids']) == len(item['gt_spans']) == len(item['queries'])


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(folds=dict(num=5, test=0)), "folds=dict(num=5, test=0, part='train')"),
        (dict(folds=dict(num=5, test=5, part='test')), 'one of 0 to num - 1'),
        (dict(folds=dict(num=1, test=0, part='test')), 'at least 2 folds'),
        (dict(folds=dict(num=5, test=0, part='val')), "'train', 'test'"),
        (dict(subset='test'), "'all', 'fit', 'holdout'"),
        (dict(missing='drop'), "'error', 'skip'"),
        (dict(holdout_fraction=1.0), 'between 0 and 1'),
        (dict(max_videos=0), 'at least 1'),
        (dict(pipeline=[dict(type='LoadVideoFeature')]), 'features=dict(visual='),
        (dict(features=dict(visual=dict(type='FolderStore'))), 'has no path'),
    ],
)
def test_wrong_options(tmp_path, options, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        build(tmp_path, [video()], **options)


def test_no_annotation_file():
    with pytest.raises(FileNotFoundError, match='README'):
        JsonlMomentDataset('nowhere.jsonl', split='train')


def with_features(tmp_path, ids, dim=4):
    with PackedWriter(str(tmp_path / 'features' / 'train'), dim=dim) as writer:
        for number, video_id in enumerate(ids):
            writer.add(video_id, np.full((5 + number, dim), number, dtype=np.float32))
    return dict(
        data_root=str(tmp_path),
        features=dict(visual=dict(type='PackedStore', path='features/{split}', dim=dim)),
        pipeline=[dict(type='LoadVideoFeature'), dict(type='PackMomentInputs')],
    )


def test_features_are_found_by_data_root_and_split(tmp_path):
    dataset = build(tmp_path, [video('a'), video('b')], **with_features(tmp_path, 'ab'))
    packed = dataset[1]
    assert packed['inputs']['visual'].shape == (6, 4)
    assert packed['data_samples'].video_id == 'b'
    assert packed['data_samples'].simulated is False


def test_missing_features(tmp_path):
    options = with_features(tmp_path, 'ac')
    rows = [video(name) for name in 'abcd']
    message = r"2 of 4 videos cannot be loaded \(b: not in .*; d: .*missing='skip'"
    with pytest.raises(ValueError, match=message):
        build(tmp_path, rows, **options)
    dataset = build(tmp_path, rows, missing='skip', **options)
    assert [dataset.get_data_info(i)['video_id'] for i in range(2)] == ['a', 'c']
    with pytest.raises(ValueError, match='no video is left'):
        build(tmp_path, [video('x')], missing='skip', **options)


def test_features_of_another_length_are_told_at_start(tmp_path):
    """Ten rows of 2 s are no features of 126 s: the truth would lie outside of them."""
    options = with_features(tmp_path, ['short', 'b', 'long'])
    options['features']['visual']['clip_seconds'] = 2.0
    rows = [video('short', 126.0), video('b', 12.0), video('long', 5.0), video('gone')]
    rows[2]['queries'] = queries(('x', [[0, 1]]))
    rows[1]['queries'] = rows[2]['queries']
    with pytest.raises(ValueError, match='1 of 4 videos cannot be loaded') as error:
        build(tmp_path, rows, **options)
    line = str(error.value)
    assert '\n' not in line
    assert '2 of 4 videos have features of another length' in line
    assert 'short: 10 s of features, 126 s of video; long: 14 s of features, 5 s' in line
    dataset = build(tmp_path, rows, missing='skip', **options)
    assert [item['data_samples'].video_id for item in dataset] == ['b']
    del options['features']['visual']['clip_seconds']  # the rows cover the video, as long as it is
    assert len(build(tmp_path, rows[:3], **options)) == 3


def test_a_missing_video_file_is_told_at_start(tmp_path):
    (tmp_path / 'a.mp4').touch()
    options = dict(
        pipeline=[dict(type='LoadVideoClips', num_clips=2)], data_prefix=dict(video=str(tmp_path))
    )
    rows = [video('a', video='a.mp4'), video('b', video='b.mp4'), video('c')]
    with pytest.raises(ValueError, match=r'2 of 3 videos cannot.*\(b: there is no .*b.mp4'):
        build(tmp_path, rows, **options)
    assert len(build(tmp_path, rows, missing='skip', **options)) == 1


def draws(dataset, workers, epoch):
    sampler = SeededSampler(dataset, shuffle=True, seed=3)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, sampler=sampler, num_workers=workers, batch_size=None)
    return [item['data_samples'].query_ids for item in loader]


def test_random_steps_depend_on_seed_epoch_and_item_only(tmp_path):
    """Not on workers nor on what was drawn before: a resumed run draws the same."""
    nine = queries(*[(f'q{j}', [[0, 1]]) for j in range(9)])
    many = [video(f'v{i}', queries=nine) for i in range(6)]
    options = with_features(tmp_path, [f'v{i}' for i in range(6)])
    options['pipeline'].insert(1, dict(type='SampleQueries', max_queries=3))
    dataset = build(tmp_path, many, **options)
    first = draws(dataset, 0, epoch=0)
    assert draws(dataset, 2, epoch=0) == first
    assert draws(pickle.loads(pickle.dumps(dataset)), 0, epoch=0) == first
    second = draws(dataset, 0, epoch=1)
    assert sorted(map(tuple, second)) != sorted(map(tuple, first))
    assert draws(dataset, 0, epoch=0) == first


def test_sampler_is_the_default_one_but_for_the_seed(tmp_path):
    from mmengine.dataset import DefaultSampler

    ours, theirs = (cls(range(10), shuffle=True, seed=5) for cls in (SeededSampler, DefaultSampler))
    assert list(ours) == list(theirs)
    assert torch.tensor(list(ours)).sum() == 45


def test_texts_of_the_videos(tmp_path):
    said = [[0, 2, 'cut the onion'], [3, 4, 'and fry it']]
    rows = [video('a', subtitles=said, meta={'camera': 'top'}), video('b')]
    dataset = build(tmp_path, rows, texts=str(tmp_path / 'a.jsonl'))
    metas = [dataset.get_data_info(i)['meta'] for i in range(2)]
    assert metas == [{'camera': 'top', 'text': 'cut the onion and fry it'}, {}]
    assert build(tmp_path, rows).get_data_info(0)['meta'] == {'camera': 'top'}


def test_texts_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no .*said.jsonl, .*set texts=None'):
        build(tmp_path, [video()], data_root=str(tmp_path), texts='said.jsonl').full_init()
