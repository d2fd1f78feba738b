"""Faults in files of the published forms, and what each form means."""

import json

import numpy as np
import pytest

from demul_mm.datasets import (
    ActivityNetCaptionsDataset,
    AnnotationError,
    CharadesCDDataset,
    CharadesSTADataset,
    DiDeMoDataset,
    FolderStore,
    QVHighlightsDataset,
    TACoSDataset,
    TVRDataset,
    validate_jsonl,
)
from demul_mm.video.clips import decode_clips


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_activitynet_faults(tmp_path):
    def build(content, split='train'):
        return ActivityNetCaptionsDataset(write(tmp_path / 'a.json', content), split=split)

    good = {'duration': 10, 'timestamps': [[0, 5]], 'sentences': ['x']}
    assert len(build({'v': good})) == 1
    with pytest.raises(ValueError, match="'train', 'val_1', 'val_2'"):
        build({'v': good}, split='test')
    with pytest.raises(AnnotationError, match='not valid JSON'):
        build('{"v": ')
    with pytest.raises(AnnotationError, match='top level is a list, expected a dict'):
        build([good])
    with pytest.raises(AnnotationError, match=r"video v: key 'duration' is missing"):
        build({'v': {'timestamps': [], 'sentences': []}})
    with pytest.raises(AnnotationError, match='2 timestamps but 1 sentences'):
        build({'v': {**good, 'timestamps': [[0, 1], [1, 2]]}})
    with pytest.raises(AnnotationError, match=r"sentence 0: timestamp \[0, 'x'\]"):
        build({'v': {**good, 'timestamps': [[0, 'x']]}})


def test_charades_cd_has_its_own_durations_and_the_actions_of_charades(tmp_path):
    path = write(
        tmp_path / 'cd.json',
        {
            'AAAAA': dict(video_duration=9.5, timestamps=[[1, 4]], sentences=['x'], video_fps=-1),
            'BBBBB': dict(video_duration=8, timestamps=[[0, 2]], sentences=['y'], video_fps=-1),
        },
    )
    info = write(tmp_path / 'c.csv', 'id,length,actions\nAAAAA,10.5,c092 1.00 4.00\n')
    first, second = CharadesCDDataset(path, split='test_ood', info_file=info, lazy_init=False)
    assert (first['duration'], first['meta']) == (9.5, {'actions': [('c092', 1.0, 4.0)]})
    assert (second['duration'], second['meta']) == (8, {})
    assert second['queries'] == ['y']
    assert len(CharadesCDDataset(path, split='train')) == 2
    with pytest.raises(ValueError, match="'train', 'val', 'test_iid', 'test_ood'"):
        CharadesCDDataset(path, split='test')


def test_charades_faults(tmp_path):
    info = write(tmp_path / 'c.csv', 'id,subject,length\nAAAAA,x,10.5\n')

    def build(text, info_file=info):
        path = write(tmp_path / 'c.txt', text)
        return CharadesSTADataset(path, split='train', info_file=info_file)

    item = build('AAAAA 0.5 20.0##a  person ## waves.\r\n\n').get_data_info(0)
    assert item['queries'] == ['a person ## waves.']
    np.testing.assert_array_equal(item['gt_spans'][0], [[0.5, 10.5]])
    with pytest.raises(AnnotationError, match=r"line 2: video 'BBBBB' is not in .*c.csv"):
        build('AAAAA 0 1##x\nBBBBB 0 1##x\n')
    with pytest.raises(AnnotationError, match=r'line 1: .*expected'):
        build('AAAAA 0 1 x\n')
    with pytest.raises(AnnotationError, match='not times in seconds'):
        build('AAAAA 0 one##x\n')
    with pytest.raises(ValueError, match='needs info_file'):
        build('AAAAA 0 1##x\n', info_file=None)
    with pytest.raises(AnnotationError, match="column 'length' is missing"):
        build('AAAAA 0 1##x\n', info_file=write(tmp_path / 'd.csv', 'id,x\nAAAAA,1\n'))


def test_tacos_times_are_frames_in_both_forms(tmp_path):
    entry = {'fps': 20.0, 'num_frames': 400, 'timestamps': [[10, 50]], 'sentences': ['he cuts']}
    info = write(tmp_path / 't.json', {'s1.avi': entry})
    text = write(tmp_path / 't.txt', 's1.avi_10_50:he cuts#\ns1.avi_60_80:a#he  rinses#\n')
    ours = TACoSDataset(info, split='train').get_data_info(0)
    tall = TACoSDataset(text, split='train', info_file=info).get_data_info(0)
    assert ours['video_id'] == tall['video_id'] == 's1.avi'
    assert ours['duration'] == tall['duration'] == 20.0
    np.testing.assert_array_equal(ours['gt_spans'][0], [[0.5, 2.5]])
    np.testing.assert_array_equal(tall['gt_spans'][0], [[0.5, 2.5]])
    assert tall['queries'] == ['he cuts', 'a', 'he rinses']
    assert tall['query_ids'] == ['s1.avi#0', 's1.avi#1', 's1.avi#2']
    assert TACoSDataset(text, split='train', info_file=info).metainfo['form'] == 'original'
    rates = write(tmp_path / 'rates.json', {'s1': 20.0})
    with pytest.raises(AnnotationError, match=r"no num_frames of video 's1.avi'"):
        TACoSDataset(text, split='train', info_file=rates)
    with pytest.raises(AnnotationError, match=r"no fps of video 's1.avi'"):
        TACoSDataset(text, split='train')


def didemo_row(**changes):
    row = {'video': 'u_1_x.mp4', 'annotation_id': 7, 'description': 'a dog', 'num_segments': 6}
    return {**row, 'times': [[0, 1], [5, 5]], **changes}


def test_didemo_last_chunk_may_be_short(tmp_path):
    path = write(tmp_path / 'd.json', [didemo_row()])
    nominal = DiDeMoDataset(path, split='val').get_data_info(0)
    assert nominal['duration'] == 30
    np.testing.assert_array_equal(nominal['gt_spans'][0], [[0, 10], [25, 30]])
    assert nominal['query_ids'] == ['7']
    info = write(tmp_path / 'i.json', {'u_1_x.mp4': 27.4})
    short = DiDeMoDataset(path, split='val', info_file=info).get_data_info(0)
    assert short['duration'] == 27.4
    np.testing.assert_array_equal(short['gt_spans'][0], [[0, 10], [25, 27.4]])


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(times=[[0, 6]]), r'vote \[0, 6\]'),
        (dict(times=[[2, 1]]), r'0 <= first <= last < 6'),
        (dict(num_segments=9), 'num_segments is 9'),
        (dict(description=3), "'description' is 3"),
    ],
)
def test_didemo_faults(tmp_path, changes, expected):
    path = write(tmp_path / 'd.json', [didemo_row(), didemo_row(annotation_id=8, **changes)])
    with pytest.raises(AnnotationError, match=f'entry 1: .*{expected}'):
        DiDeMoDataset(path, split='val')


def test_tvr_knows_its_videos(tmp_path):
    row = {'vid_name': 'v', 'duration': 60, 'ts': [1, 5], 'desc': 'x', 'desc_id': 3, 'type': 'vt'}
    path = write(tmp_path / 't.jsonl', json.dumps(row))
    info = write(tmp_path / 'i.json', {'val': {'v': [60, 0]}})
    item = TVRDataset(path, split='val', info_file=info).get_data_info(0)
    assert item['query_ids'] == ['3']
    assert item['meta']['query_types'] == {'3': 'vt'}
    other = write(tmp_path / 'o.json', {'val': {'w': [60, 0]}})
    with pytest.raises(AnnotationError, match="video 'v' is not in"):
        TVRDataset(path, split='val', info_file=other)
    hidden = write(tmp_path / 'h.jsonl', json.dumps({'desc': 'x', 'desc_id': 3}))
    with pytest.raises(AnnotationError, match="'vid_name' is missing"):
        TVRDataset(hidden, split='val')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(duration=1e300), 'line 1: .* has duration 1e'),
        (dict(duration=1e-12), 'line 1: .* has duration 1e-12'),
        (dict(query='half \ud800 of a pair'), 'the sentence is .*give valid Unicode'),
    ],
)
def test_absurd_values_are_named(tmp_path, change, message):
    row = dict(vid='a', qid=1, query='a dog', duration=10, relevant_windows=[[0, 1]])
    (tmp_path / 'a.jsonl').write_text(json.dumps({**row, **change}))
    dataset = QVHighlightsDataset(str(tmp_path / 'a.jsonl'), split='train', lazy_init=True)
    with pytest.raises(AnnotationError, match=message):
        dataset.full_init()


@pytest.mark.parametrize('number', [float('nan'), float('inf'), 0])
def test_lengths_and_rates_are_such(tmp_path, number):
    with pytest.raises(ValueError, match='clip_seconds'):
        decode_clips('a.mp4', clip_seconds=number)
    with pytest.raises(ValueError, match='clip_seconds'):
        FolderStore(str(tmp_path), clip_seconds=number)
    with pytest.raises(ValueError, match='frame_rate'):
        decode_clips(str(tmp_path), num_clips=2, frame_rate=number)


def test_the_form_of_qvhighlights_is_known_by_its_lines(tmp_path):
    row = dict(vid='a', qid=1, query='a dog', duration=10, relevant_windows=[[0, 1]])
    path = write(tmp_path / 'a.jsonl', row)
    (fault,) = validate_jsonl(path)
    assert 'is the form of QVHighlightsDataset' in fault
