"""Simulated features: repeatable, and they say what the sentences say when they say it."""

import numpy as np
import pytest

from demul_mm.datasets.simulation import FeatureSimulator, PhraseEncoder, SimulationConfig

SENTENCES = (
    'a man throws a ball',
    'the woman pours milk into a glass',
    'a dog jumps over the fence',
    'two children ride bicycles down the street',
    'he plays the guitar on a stage',
    'she is painting the wall blue',
)
CLEAN = SimulationConfig(
    dim=64, noise=0.0, distractors=0.0, jitter=0.0, scene=0.0, gain_spread=0.0, ramp=0.0
)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('max_rows', 0),
        ('clip_seconds', 0.0),
        ('clip_seconds', float('nan')),
        ('dim', 3),
        ('parts', 0),
        ('seed', -1),
        ('noise_memory', 1.0),
        ('jitter', -0.1),
        ('noise', float('inf')),
    ],
)
def test_options_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f'{name}={value}: give '):
        SimulationConfig(**{name: value})


@pytest.fixture(scope='module')
def encoder():
    return PhraseEncoder(parts=4, batch_size=16)


def make_items(count=8):
    items = []
    for number in range(count):
        names = [SENTENCES[(number + k) % len(SENTENCES)] for k in range(3)]
        items.append(
            {
                'video_id': f'v{number}',
                'duration': 30.0 + number,
                'queries': names,
                'gt_spans': [np.array([[10.0 * k, 10.0 * k + 9]]) for k in range(3)],
            }
        )
    return items


def simulate(items, ids, config, encoder):
    simulator = FeatureSimulator(items, config, encoder)
    return dict(zip(ids, simulator.simulate(ids)))


def test_a_video_does_not_depend_on_order_or_company(encoder):
    items, config = make_items(), SimulationConfig(dim=32)
    ids = [item['video_id'] for item in items]
    first = simulate(items, ids, config, encoder)
    again = simulate(items, ids[::-1], config, PhraseEncoder(parts=4, batch_size=16))
    alone = simulate(items, ['v3'], config, PhraseEncoder(parts=4, batch_size=16))
    for video_id in ids:
        np.testing.assert_array_equal(first[video_id], again[video_id])
    np.testing.assert_array_equal(first['v3'], alone['v3'])
    other = simulate(items, ['v3'], SimulationConfig(dim=32, seed=1), encoder)
    assert np.abs(other['v3'] - first['v3']).max() > 0.5


def test_embedding_is_the_same_to_the_bit_in_any_batch(encoder):
    alone = PhraseEncoder(parts=4, batch_size=16)
    alone.encode([SENTENCES[2]])
    encoder.encode(SENTENCES)
    np.testing.assert_array_equal(alone[SENTENCES[2]], encoder[SENTENCES[2]])
    lengths = np.linalg.norm(encoder[SENTENCES[2]].astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)


def test_rows_cover_the_video(encoder):
    items = make_items()
    items[0]['duration'] = 3000.0
    items[1]['duration'] = 0.2
    config = SimulationConfig(dim=16, clip_seconds=2.0, max_rows=100)
    made = simulate(items, ['v0', 'v1', 'v2'], config, encoder)
    assert [made[v].shape for v in ('v0', 'v1', 'v2')] == [(100, 16), (1, 16), (16, 16)]


def test_features_follow_the_sentences(encoder):
    """Without noise: nothing outside events; the same event looks alike, others do not."""
    items = make_items()
    made = simulate(items, ['v0', 'v1', 'v5'], CLEAN, encoder)
    rows = made['v0']  # 30 rows of 1 s; events at 0-9, 10-19, 20-29
    assert np.abs(rows[9]).max() == 0
    assert np.abs(rows[2]).max() > 0.1

    def event(video_id, number):
        return made[video_id][10 * number + 1 : 10 * number + 8].ravel()

    def cosine(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    # v0 and v1 are 30 and 31 s long: the same sentence, at other times.
    same = cosine(event('v0', 1), event('v1', 0))
    other = cosine(event('v0', 1), event('v1', 1))
    assert same > 0.9
    assert other < same - 0.3
    # The course of an event shows: its first rows differ from its last.
    assert cosine(rows[1], rows[2]) > cosine(rows[1], rows[7]) + 0.1


def test_overlapping_events_add_up(encoder):
    items = make_items(2)
    both = dict(items[0], video_id='both', gt_spans=[np.array([[0.0, 30.0]])] * 2, duration=30.0)
    both['queries'] = both['queries'][:2]
    # The same span would be one event; shift one of them by a little.
    both['gt_spans'] = [np.array([[0.0, 30.0]]), np.array([[0.0, 29.9]])]
    single = [
        dict(both, video_id=f's{k}', queries=[both['queries'][k]], gt_spans=[both['gt_spans'][k]])
        for k in range(2)
    ]
    made = simulate([both, *single, items[1]], ['both', 's0', 's1'], CLEAN, encoder)
    np.testing.assert_allclose(
        made['both'][5:25], (made['s0'] + made['s1'])[5:25] / np.sqrt(2), atol=1e-4
    )


def test_votes_weaken_what_few_voted_for(encoder):
    item = make_items(1)[0]
    item.update(queries=item['queries'][:1], duration=30.0)
    item['gt_spans'] = [np.array([[0.0, 10.0]] * 3 + [[20.0, 30.0]])]
    rows = simulate([item], ['v0'], CLEAN, encoder)['v0']
    strength = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(strength[25] / strength[5], 1 / 3, atol=1e-4)
    assert strength[15] == 0


def test_noise_has_the_memory_and_strength_asked_for(encoder):
    item = dict(make_items(1)[0], duration=4000.0, queries=[], gt_spans=[])
    config = SimulationConfig(dim=64, noise=2.0, noise_memory=0.8, scene=0.0, max_rows=4000)
    rows = simulate([item], ['v0'], config, encoder)['v0']
    assert rows.std() == pytest.approx(2.0, rel=0.1)
    lag = (rows[1:] * rows[:-1]).mean() / (rows**2).mean()
    assert lag == pytest.approx(0.8, abs=0.03)
    channels = np.corrcoef(rows.T)
    assert np.abs(channels[~np.eye(64, dtype=bool)]).mean() > 0.05


def test_no_foreign_event_is_a_sentence_of_the_data_set(encoder):
    """A foreign event blends two sentences, so that no query is true of a wrong video."""
    simulator = FeatureSimulator(make_items(), SimulationConfig(distractors=3.0), encoder)
    foreign = [e for item in simulator.items.values() for e in simulator._plan(item)[1]]
    assert len(foreign) > 20
    assert all(len(event.sentences) == 2 for event in foreign)
    for item in simulator.items.values():
        for event in simulator._plan(item)[1]:
            assert 0 <= event.spans[0, 0] < event.spans[0, 1] <= item['duration'] + 1e-9
