"""Transforms: time stays right, nothing is lost, shapes are as promised."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from demul_mm.datasets import PackedWriter
from demul_mm.datasets.transforms import (
    LoadVideoFeature,
    NormalizeRows,
    PackMomentInputs,
    ResampleClips,
    SampleQueries,
    resample_rows,
)


def slow_mean(rows, length):
    """The mean of each cell, summed over all overlaps one by one."""
    total = len(rows)
    out = np.zeros((length, rows.shape[1]))
    for cell in range(length):
        low, high = cell * total / length, (cell + 1) * total / length
        for row in range(total):
            out[cell] += rows[row] * max(0.0, min(high, row + 1) - max(low, row))
        out[cell] /= high - low
    return out


@pytest.mark.parametrize(
    ('total', 'length'), [(7, 3), (100, 64), (64, 64), (5, 12), (1, 4), (9, 1)]
)
def test_mean_is_the_overlap_weighted_average(total, length):
    rows = np.random.default_rng(0).normal(size=(total, 3)).astype(np.float32)
    found = resample_rows(rows, length)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_mean(rows, length), atol=1e-5)
    # The integral over time is kept.
    np.testing.assert_allclose(found.mean(0), rows.mean(0), atol=1e-5)


@pytest.mark.parametrize(('total', 'length'), [(200, 64), (50, 64), (64, 7)])
def test_an_event_stays_at_its_time(total, length):
    """A ramp over time keeps its value at each time, and a constant stays constant."""
    time = ((np.arange(total) + 0.5) / total)[:, None].astype(np.float32)
    expected = (np.arange(length) + 0.5) / length
    tolerance = 0.5 / total + 0.5 / length
    np.testing.assert_allclose(resample_rows(time, length)[:, 0], expected, atol=tolerance)
    constant = np.full((total, 2), 3.25, dtype=np.float32)
    np.testing.assert_allclose(resample_rows(constant, length), 3.25, rtol=1e-6)


def test_mean_of_a_long_video_keeps_its_precision():
    rows = np.full((200_000, 1), 1000.125, dtype=np.float32)
    np.testing.assert_allclose(resample_rows(rows, 128), 1000.125, rtol=1e-7)


def test_resample_keeps_short_and_unlimited_sequences():
    rows = np.arange(10, dtype=np.float32)[:, None]

    def run(**options):
        results = {'streams': {'visual': rows, 'audio': rows}, 'extent': 12.5}
        return ResampleClips(**options).transform(results)

    assert run(num_clips=16)['streams']['visual'] is rows
    assert run(num_clips=None)['streams']['visual'] is rows
    assert len(run(num_clips=16, keep_short=False)['streams']['visual']) == 16
    shorter = run(num_clips=4)
    assert len(shorter['streams']['visual']) == 4
    assert len(shorter['streams']['audio']) == 10  # not named
    assert shorter['extent'] == 12.5
    with pytest.raises(ValueError, match='at least 1'):
        ResampleClips(num_clips=0)


def item(queries=5):
    return {
        'video_id': 'a',
        'duration': 12.0,
        'extent': 12.0,
        'sample_idx': 3,
        'queries': [f'q{i}' for i in range(queries)],
        'query_ids': [f'a#{i}' for i in range(queries)],
        'gt_spans': [np.array([[i, i + 1.0]]) for i in range(queries)],
        'streams': {'visual': np.ones((6, 4), np.float32)},
    }


def test_sampled_queries_stay_together_and_are_fair():
    counts = np.zeros(5)
    for seed in range(400):
        results = SampleQueries(2).transform({**item(), 'rng': np.random.default_rng(seed)})
        numbers = [int(query[1:]) for query in results['queries']]
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == 2
        assert results['query_ids'] == [f'a#{i}' for i in numbers]
        assert [spans[0, 0] for spans in results['gt_spans']] == numbers
        counts[numbers] += 1
    np.testing.assert_allclose(counts, 160, atol=45)  # 4.6 standard deviations
    assert SampleQueries(5).transform(item())['queries'] == item()['queries']
    with pytest.raises(ValueError, match='at least 1'):
        SampleQueries(0)


def test_packed_inputs_and_collation():
    pack = PackMomentInputs()
    frames = {**item(2), 'streams': {'frames': np.ones((6, 3, 2, 4, 4), np.uint8)}}
    packed = [pack.transform(item(2)), pack.transform(item(1))]
    sample = packed[0]['data_samples']
    assert (sample.video_id, sample.duration, sample.sample_idx) == ('a', 12.0, 3)
    assert sample.query_ids == ['a#0', 'a#1']
    assert sample.queries == ['q0', 'q1']
    assert sample.gt_spans[1].dtype == torch.float32
    assert sample.gt_spans[1].tolist() == [[1, 2]]
    batch = pseudo_collate(packed)
    assert [x.shape for x in batch['inputs']['visual']] == [(6, 4), (6, 4)]
    assert len(batch['data_samples']) == 2
    assert pack.transform(frames)['inputs']['frames'].dtype == torch.uint8
    named = PackMomentInputs(meta_keys=('video_id',)).transform(item())
    assert 'duration' not in named['data_samples']


@pytest.mark.parametrize(('clip_seconds', 'extent'), [(None, 12.0), (2.5, 10.0)])
def test_loaded_features_know_what_they_cover(tmp_path, clip_seconds, extent):
    with PackedWriter(str(tmp_path), dim=2, simulated=True, clip_seconds=clip_seconds) as writer:
        writer.add('a', np.ones((4, 2)))
    step = LoadVideoFeature(dict(type='PackedStore', path=str(tmp_path)))
    results = step.transform({'video_id': 'a', 'duration': 12.0})
    assert results['streams']['visual'].shape == (4, 2)
    assert results['extent'] == extent
    assert results['simulated'] is True
    assert step.lacks({'video_id': 'a'}) is None
    assert 'b: not in' in step.lacks({'video_id': 'b'})


def test_rows_of_one_length():
    rows = np.array([[3, 4], [0, 0], [0.5, 0]], np.float32)
    streams = {'visual': rows, 'said': None}
    step = NormalizeRows(streams=('visual', 'said'))
    result = step.transform({'streams': streams})['streams']
    np.testing.assert_allclose(result['visual'], [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
    assert result['visual'].dtype == np.float32
    assert result['said'] is None
    assert streams['visual'] is rows
    assert rows[0, 0] == 3
