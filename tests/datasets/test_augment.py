"""Augmentations: moments keep pointing at what they pointed at, and no video loses its last query.

The features of these videos are the times at which they were taken, so a moment's rows tell which
part of the original video it now points at.
"""

import copy

import numpy as np
import pytest
from mmcv.transforms import Compose

from demul_mm.datasets.transforms import ClipDrop, SpeedChange, TemporalCrop, WordDrop
from demul_mm.datasets.transforms.augment import warp_time
from demul_mm.registry import TRANSFORMS

SEEDS = range(60)
TIME_STEPS = {
    'crop': dict(type='TemporalCrop', prob=1.0, min_keep=0.2),
    'fast': dict(type='SpeedChange', prob=1.0, low=1.2, high=3.0),
    'slow': dict(type='SpeedChange', prob=1.0, low=0.3, high=0.8),
    'zero': dict(type='ClipDrop', prob=1.0, rate=0.6),
    'remove': dict(type='ClipDrop', prob=1.0, rate=0.6, mode='remove'),
}
STEPS = {**TIME_STEPS, 'words': dict(type='WordDrop', prob=1.0, rate=0.7, keep=2)}
# Streams of unequal length, one of them of pictures; only the first and last divide evenly.
LENGTHS = {'visual': 60, 'audio': 47, 'frames': 30}


def build(name, **changes):
    return TRANSFORMS.build({**STEPS[name], **changes})


def make_item(seed, queries=4, extent=90.0, duration=90.0):
    rng = np.random.default_rng(seed)
    spans = []
    for _ in range(queries):
        start, length = rng.uniform(0, 0.9) * extent, rng.uniform(0.003, 0.6) * extent
        spans.append(np.array([[start, min(start + length, extent)]]))
    streams = {}
    for name, count in LENGTHS.items():
        times = (np.arange(count) + 0.5) / count * extent + 1  # 0 is for blanked clips
        streams[name] = times.astype(np.float32).reshape(
            count, *([1] * (1 + 3 * (name == 'frames')))
        )
    return {
        'video_id': 'a',
        'duration': duration,
        'extent': extent,
        'queries': [f'number {q} goes round the wooden table twice' for q in range(queries)],
        'query_ids': [f'a#{q}' for q in range(queries)],
        'gt_spans': spans,
        'streams': streams,
        'rng': np.random.default_rng([seed, 1]),
    }


def old_times(results, stream):
    """The original times of the rows of a stream, and the times at which they are now."""
    rows = results['streams'][stream].reshape(len(results['streams'][stream])) - 1
    return rows, (np.arange(len(rows)) + 0.5) / len(rows) * results['extent']


def same(one, two):
    assert one.keys() == two.keys()
    for key in ('queries', 'query_ids', 'duration', 'extent'):
        assert one[key] == two[key]
    for a, b in zip(one['gt_spans'], two['gt_spans'], strict=True):
        np.testing.assert_array_equal(a, b)
    for name in one['streams']:
        np.testing.assert_array_equal(one['streams'][name], two['streams'][name])


@pytest.mark.parametrize('name', TIME_STEPS)
@pytest.mark.parametrize('extent', [90.0, 84.0])
def test_moments_point_at_the_same_rows(name, extent):
    step = build(name)
    for seed in SEEDS:
        item = make_item(seed, extent=extent)
        before = dict(zip(item['query_ids'], item['gt_spans']))
        results = step(item)
        assert len(results['queries']) == len(results['query_ids']) == len(results['gt_spans']) > 0
        assert 0 < results['duration'] <= results['extent'] + 1e-6 or extent < 90
        for query_id, spans in zip(results['query_ids'], results['gt_spans']):
            (start, end), (old_start, old_end) = spans[0], before[query_id][0]
            assert 0 <= start < end <= results['extent'] + 1e-6
            for stream, count in LENGTHS.items():
                clip = extent / count
                shown, now = old_times(results, stream)
                if name == 'zero':
                    shown = np.where(shown < 0, now, shown)
                inside = (now > start + 1e-4) & (now < end - 1e-4)
                # Every row in the moment was in it, within a clip.
                assert (shown[inside] > old_start - clip).all()
                assert (shown[inside] < old_end + clip).all()
                # Every row that was well inside the moment, and is still there, is in it.
                well = (shown > old_start + clip) & (shown < old_end - clip)
                reach = results['extent'] / len(now)
                assert (now[well] > start - reach).all()
                assert (now[well] < end + reach).all()


@pytest.mark.parametrize('name', STEPS)
def test_the_generator_decides(name):
    step = build(name)
    original = make_item(3)
    drawn = []
    for seed in (5, 5, 6, 7):
        item = copy.deepcopy(original)
        drawn.append(step({**item, 'rng': np.random.default_rng(seed)}))
        same({**item, 'rng': None}, {**original, 'rng': None})  # the item itself is not touched
    same(drawn[0], drawn[1])
    differ = 0
    for other in drawn[2:]:
        try:
            same(drawn[0], other)
        except AssertionError:
            differ += 1
    assert differ


@pytest.mark.parametrize('name', STEPS)
def test_no_probability_changes_nothing(name):
    step = build(name, prob=0.0)
    for seed in range(10):
        item = make_item(seed)
        same(step(copy.deepcopy(item)), item)


def test_all_of_them_in_a_row_lose_nothing():
    steps = Compose([build(name) for name in STEPS])
    for seed in SEEDS:
        results = steps(make_item(seed, queries=1))
        assert results['query_ids'] == ['a#0']
        ((start, end),) = results['gt_spans'][0]
        assert 0 <= start < end <= results['extent'] + 1e-6
        assert all(len(rows) for rows in results['streams'].values())


def test_crop_keeps_one_moment_whole_and_clips_the_rest():
    lengths, shares, whole_queries = [], [], set()
    for seed in SEEDS:
        item = make_item(0)
        before = dict(zip(item['query_ids'], item['gt_spans']))
        results = TemporalCrop(prob=1.0, min_keep=0.2)({**item, 'rng': np.random.default_rng(seed)})
        whole = []
        for query_id, spans in zip(results['query_ids'], results['gt_spans']):
            share = np.diff(spans[0])[0] / np.diff(before[query_id][0])[0]
            whole += [query_id] * (share > 1 - 1e-6)
            shares.append(share)
        assert whole
        whole_queries.update(whole)
        lengths.append(results['extent'])
        # Rows keep their length in seconds.
        assert results['extent'] / len(results['streams']['visual']) == pytest.approx(1.5)
    assert min(lengths) < 60 < 85 < max(lengths)
    assert min(lengths) >= 0.2 * 90 - 1e-6
    assert 0.5 - 1e-6 <= min(shares) < 0.9
    assert whole_queries == {f'a#{q}' for q in range(4)}


def test_crop_keeps_all_occurrences_of_the_chosen_query_and_drops_lost_votes():
    item = make_item(0, queries=1)
    item['gt_spans'] = [np.array([[30.0, 36.0], [45.0, 51.0]])]
    for seed in SEEDS:
        results = TemporalCrop(prob=1.0, min_keep=0.1)({**item, 'rng': np.random.default_rng(seed)})
        np.testing.assert_allclose(
            results['gt_spans'][0] - results['gt_spans'][0][0, 0], [[0, 6], [15, 21]], atol=1e-6
        )
    cut = np.array([0, 30, 39, 90.0]), np.array([0, 0, 9, 9.0])
    np.testing.assert_allclose(warp_time(item, *cut, min_inside=0.5)['gt_spans'][0], [[0, 6]])
    nothing = np.array([0, 60, 70, 90.0]), np.array([0, 0, 10, 10.0])
    assert warp_time(item, *nothing) is item  # rather than a video without a query


@pytest.mark.parametrize('speed', [0.5, 2.0, 3.0])
def test_speed_is_what_was_asked_for(speed):
    item = make_item(1)
    results = SpeedChange(prob=1.0, low=speed, high=speed, whole=1.0)(item)
    assert results['extent'] == results['duration'] == pytest.approx(90 / speed)
    for name, count in LENGTHS.items():
        assert len(results['streams'][name]) == round(count / speed)
    for old, new in zip(item['gt_spans'], results['gt_spans']):
        np.testing.assert_allclose(new, old / speed)


def test_a_part_changes_speed_and_the_rest_does_not():
    for seed in SEEDS:
        results = SpeedChange(prob=1.0, low=2.0, high=2.0, whole=0.0)(make_item(seed))
        shown, _ = old_times(results, 'visual')
        steps = np.diff(shown)
        assert set(np.round(steps / 1.5).astype(int)) <= {1, 2, 3}
        fast = np.flatnonzero(steps > 1.6)
        assert len(fast) == 0 or fast[-1] - fast[0] + 2 >= len(fast)
        assert (steps > 0).all()


def test_the_duration_moves_like_any_other_time():
    item = make_item(0, extent=90.0, duration=84.0)
    found = warp_time(item, np.array([0.0, 45.0, 90.0]), np.array([0.0, 45.0, 135.0]))
    assert (found['extent'], found['duration']) == (135, 45 + 2 * 39)


@pytest.mark.parametrize('mode', ['zero', 'remove'])
def test_dropped_clips_are_as_many_as_asked_and_no_whole_moment(mode):
    left = []
    for seed in range(200):
        item = make_item(seed)
        results = ClipDrop(prob=1.0, rate=0.5, mode=mode)(item)
        assert results['query_ids'] == item['query_ids']
        shown, now = old_times(results, 'visual')
        shown = shown[shown >= 0]
        left.append(len(shown) / 60)
        for start, end in np.concatenate(item['gt_spans']):
            assert ((shown + 0.75 > start) & (shown - 0.75 < end)).any()
        if mode == 'zero':
            assert len(now) == 60
            same({**results, 'streams': {}}, {**item, 'streams': {}})
    # About half; the clips that keep a moment alive add a little.
    assert 0.49 < np.mean(left) < 0.54


def test_words_that_stay_are_in_order_and_the_longest_among_them():
    counts = []
    for seed in range(300):
        item = make_item(seed, queries=2)
        results = WordDrop(prob=1.0, rate=0.4, keep=2)(item)
        for before, after in zip(item['queries'], results['queries']):
            words, rest = after.split(), iter(before.split())
            assert all(word in rest for word in words)  # a subsequence
            assert {'number', 'wooden'} <= set(words)
            counts.append(len(words))
        same({**results, 'queries': []}, {**item, 'queries': []})
    assert np.mean(counts) == pytest.approx(2 + 0.6 * 6, abs=0.2)
    short = {**make_item(0, queries=1), 'queries': ['run']}
    assert WordDrop(prob=1.0, rate=1.0, keep=1)(short)['queries'] == ['run']
    everything = {**short, 'queries': ['a dog runs home']}
    assert WordDrop(prob=1.0, rate=1.0, keep=1)(everything)['queries'] == ['runs']


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (TemporalCrop, dict(prob=1.5), 'prob=1.5: give a number from 0 to 1'),
        (TemporalCrop, dict(min_keep=0), 'min_keep=0'),
        (SpeedChange, dict(low=2.0, high=1.0), '0 < low <= high'),
        (ClipDrop, dict(mode='mask'), "allowed: 'zero', 'remove'"),
        (WordDrop, dict(keep=0), 'at least 1'),
    ],
)
def test_wrong_options_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_the_description_names_the_options():
    assert repr(ClipDrop(0.1, 0.2)) == "ClipDrop(prob=0.1, rate=0.2, mode='zero')"
