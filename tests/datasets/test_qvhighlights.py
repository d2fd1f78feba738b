"""The form of QVHighlights: a line for each query, several moments a query, rated clips."""

import json
from pathlib import Path

import numpy as np
import pytest

from demul_mm.datasets import AnnotationError, QVHighlightsDataset

ROW = {
    'qid': 7,
    'query': 'A man pets a dog.',
    'vid': 'a_0.0_9.0',
    'duration': 9,
    'relevant_windows': [[0, 2], [6, 8]],
    'relevant_clip_ids': [0, 3],
    'saliency_scores': [[4, 2, 0], [1, 1, 3]],
}


def read(path: Path, *rows: dict, **options: object) -> QVHighlightsDataset:
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return QVHighlightsDataset(ann_file=str(path), split='val', **options)


def test_queries_of_one_video_come_together_with_all_their_moments(tmp_path: Path) -> None:
    plain = {key: ROW[key] for key in ('vid', 'duration')}
    dataset = read(
        tmp_path / 'val.jsonl',
        ROW,
        {**ROW, 'vid': 'b', 'qid': 'x'},
        {**plain, 'qid': 8, 'query': 'He leaves.', 'relevant_windows': [[8, 9]]},
    )
    first, second = (dataset.get_data_info(i) for i in range(2))
    assert (first['video_id'], first['duration']) == ('a_0.0_9.0', 9.0)
    assert first['query_ids'] == ['7', '8']
    np.testing.assert_array_equal(first['gt_spans'][0], [[0, 2], [6, 8]])
    np.testing.assert_array_equal(first['gt_spans'][1], [[8, 9]])
    assert first['meta']['saliency'] == {'7': [[4, 2, 0], [0, 0, 0], [0, 0, 0], [1, 1, 3]]}
    assert second['query_ids'] == ['x']


def test_lines_without_truth_are_for_the_test_alone(tmp_path: Path) -> None:
    row = {key: ROW[key] for key in ('qid', 'query', 'vid', 'duration')}
    both = [row, {**ROW, 'qid': 8}]
    (item,) = read(tmp_path / 'test.jsonl', *both, test_mode=True)
    assert [len(spans) for spans in item['gt_spans']] == [0, 2]
    assert item['meta']['saliency'].keys() == {'8'}
    (item,) = read(tmp_path / 'train.jsonl', *both)
    assert item['query_ids'] == ['8']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'relevant_clip_ids': [0, 4]}, r'clip 4 in relevant_clip_ids; 9 s have clips 0 to 3'),
        ({'relevant_clip_ids': [0]}, '1 relevant_clip_ids but 2 saliency_scores'),
        ({'saliency_scores': [[1, 2, 3], [1]]}, 'all of the same annotators'),
        ({'relevant_windows': [0, 2]}, r'expected \[\[start, end\], ...\] in seconds'),
        ({'qid': None}, "'qid' is None"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(AnnotationError, match=f'line 1: .*{message}'):
        read(tmp_path / 'val.jsonl', {**ROW, **change})


def test_a_video_has_one_duration(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r'line 2: .* is 8 s long, but 9 s in line 1'):
        read(tmp_path / 'val.jsonl', ROW, {**ROW, 'qid': 8, 'duration': 8})
