"""Entries and the predictions file."""

import json

import numpy as np
import pytest
import torch

from demul_mm.evaluation.predictions import (
    entries_from_sample,
    load_predictions,
    merge_entries,
    pad_entries,
    plain_floats,
    save_predictions,
)
from demul_mm.structures import PhraseMap
from tests.evaluation.helpers import make_sample


def test_float32_times_come_out_as_the_decimals_of_the_file():
    assert plain_floats(torch.tensor([24.3, 0.1, 117.05])) == [24.3, 0.1, 117.05]
    assert plain_floats(np.array([24.3])) == [24.3]
    assert plain_floats(torch.tensor([1.5], dtype=torch.bfloat16)) == [1.5]
    assert plain_floats(torch.zeros(0, 2)) == []


def test_entries_are_sorted_by_score_and_equal_scores_by_index():
    rows = [[0, 1, 0.2], [1, 2, 0.9], [2, 3, 0.9], [3, 4, 0.5]]
    (entry,) = entries_from_sample(make_sample(0, gt=[[[0, 1]]], pred=[rows]))
    assert [row[0] for row in entry['pred']] == [1, 2, 3, 0]


def test_a_query_too_few_is_named():
    sample = make_sample(0, gt=[[[0, 1]], [[1, 2]]], pred=[[]])
    with pytest.raises(ValueError, match="video 'v0' has 2 queries but 1 in 'pred_moments'"):
        entries_from_sample(sample)


def test_tags_come_from_meta():
    sample = make_sample(0, gt=[[[0, 1]], [[1, 2]]], pred=[[], []])
    sample['meta'] = {'tags': {'v0#1': ['order']}}
    assert [entry['tags'] for entry in entries_from_sample(sample)] == [[], ['order']]


@pytest.mark.parametrize(
    ('tags', 'expected'),
    [(['kitchen', 'night'], ['kitchen', 'night']), ('kitchen', ['kitchen']), ([], []), (None, [])],
)
def test_tags_of_a_video_are_those_of_all_its_queries(tags, expected):
    sample = make_sample(0, gt=[[[0, 1]], [[1, 2]]], pred=[[], []])
    sample['meta'] = {'tags': tags}
    assert [entry.get('tags', []) for entry in entries_from_sample(sample)] == [expected] * 2


def test_other_facts_about_a_video_may_have_the_names_of_those_about_queries():
    sample = make_sample(0, gt=[[[0, 1]]], pred=[[]])
    sample['meta'] = {'query_types': 'x', 'saliency': ['v0#0']}
    (entry,) = entries_from_sample(sample)
    assert not entry.keys() & {'tags', 'saliency'}


def test_query_types_are_tags_too():
    sample = make_sample(0, gt=[[[0, 1]], [[1, 2]]], pred=[[], []])
    sample['meta'] = {'query_types': {'v0#0': 'vt'}}
    assert [entry['tags'] for entry in entries_from_sample(sample)] == [['vt'], []]


def test_terms_follow_their_predictions():
    sample = make_sample(0, gt=[[[0, 1]]], pred=[[[0, 1, 0.1], [2, 3, 0.9]]])
    sample['pred_moments'][0].terms = torch.tensor([[1.0, 2.0], [3.0, 4.00004]])
    (entry,) = entries_from_sample(sample)
    assert entry['terms'] == [[3.0, 4.0], [1.0, 2.0]]


def test_phrases_follow_their_predictions():
    """Their clips cover the extent, which may be longer than the video."""
    sample = make_sample(0, gt=[[[0, 1]]], pred=[[[0, 2, 0.1], [2, 8, 0.9]]], duration=7.0)
    sample['extent'] = 8.0  # that the four clips cover
    sample['pred_phrases'] = [PhraseMap(['a'], torch.tensor([[1.0, 2.0, 3.0, 4.0]]))]
    (entry,) = entries_from_sample(sample)
    assert [row[0] for row in entry['pred']] == [2, 0]
    assert entry['phrases'][0]['weights'] == [3, 1]
    assert entry['extent'] == 8


def test_a_sample_without_predictions_is_an_error():
    sample = make_sample(0, gt=[[[0, 1]]], pred=[[]])
    del sample['pred_moments']
    with pytest.raises(ValueError, match="video 'v0' has neither pred_moments nor pred_corpus"):
        entries_from_sample(sample)


def test_merge_counts_each_query_once_in_the_order_of_the_data_set():
    def result(index: int) -> dict:
        sample = make_sample(index, gt=[[[0, 1]]], pred=[[]])
        return {'sample_idx': index, 'entries': entries_from_sample(sample)}

    merged = merge_entries([result(2), result(0), result(1), result(0), result(2)])
    assert [entry['query_id'] for entry in merged] == ['v0#0', 'v1#0', 'v2#0']


def test_padding_of_ragged_entries():
    first = make_sample(0, gt=[[[0, 1], [2, 3]]], pred=[[[4, 5, 0.5]]], duration=9.0)
    second = make_sample(1, gt=[[]], pred=[[]], duration=7.5)
    padded = pad_entries([*entries_from_sample(first), *entries_from_sample(second)])
    assert padded.gt_mask.tolist() == [[True, True], [False, False]]
    assert padded.pred_mask.tolist() == [[True], [False]]
    assert padded.duration.tolist() == [9.0, 7.5]
    assert padded.pred[0].tolist() == [[4.0, 5.0]]


def test_file_round_trip_is_exact(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 30, (50, 3)).tolist()
    entries = entries_from_sample(make_sample(0, gt=[[[24.3, 30.4]]], pred=[rows]))
    path = tmp_path / 'sub' / 'dump.json'
    save_predictions(path, entries, {'split': 'val', 'note': 'ä'})
    meta, loaded = load_predictions(path)
    assert meta == {'split': 'val', 'note': 'ä'}
    assert loaded == entries
    assert [p.name for p in path.parent.iterdir()] == ['dump.json']
    assert set(json.loads(path.read_text())) == {'format', 'version', 'meta', 'predictions'}


def test_an_empty_file_of_predictions_is_valid(tmp_path):
    save_predictions(tmp_path / 'dump.json', [], {})
    assert load_predictions(tmp_path / 'dump.json') == ({}, [])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"format": "demul_mm.predictions", "ver', 'is not a whole JSON file'),
        ('[1, 2]', 'is not a predictions file'),
        (f'[1{"0" * 5000}]', 'is not a whole JSON file'),
        ('{"format": "demul_mm.predictions", "version": 2}', 'has version 2'),
        (
            '{"format": "demul_mm.predictions", "version": 1, "predictions": [{"query_id": "a"}]}',
            'prediction 0 lacks video_id, duration, gt, pred',
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, message):
    path = tmp_path / 'dump.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_predictions(path)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('tags', 'indoor'),
        ('videos', 'v12'),
        ('videos', [12]),
        ('gt', [0, 1]),
        ('pred', [[0, 1]]),
        ('pred', [[0, 1, 'high']]),
        ('duration', '9'),
        ('duration', 1e300),
        ('duration', 10**400),
        ('pred', [[0, 10**400, 0.5]]),
    ],
)
def test_values_of_another_kind_are_refused(tmp_path, key, value):
    (entry,) = entries_from_sample(make_sample(0, gt=[[[0, 1]]], pred=[[[0, 2, 0.5]]]))
    save_predictions(tmp_path / 'dump.json', [{**entry, key: value}], {})
    with pytest.raises(ValueError, match=f'prediction 0 has {key}'):
        load_predictions(tmp_path / 'dump.json')


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match='--dump'):
        load_predictions(tmp_path / 'none.json')
