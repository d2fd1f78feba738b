"""A spliced moment brings its own rows and its sentence; the rest keeps pointing at what it did.

The features of a video are the times at which they were taken, plus 1000 times its number, so a row
tells which video it comes from, and from when.
"""

import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from demul_mm.datasets import JsonlMomentDataset
from demul_mm.datasets.samplers import SeededSampler
from demul_mm.datasets.transforms import SpliceMoment
from tests.datasets.helpers import write_jsonl

SEEDS = range(80)
RATES = {'visual': 1.0, 'audio': 1.6}  # rows a second
TEXTS = ['a dog jumps over the fence', 'somebody pours tea', 'two children dance', 'the car stops']


def make_info(number: int, duration: float, spans: list, texts: list | None = None) -> dict:
    name = f'v{number}'
    return {
        'video_id': name,
        'sample_idx': number,
        'duration': duration,
        'queries': texts or [f'{TEXTS[q]} in film {name}' for q in range(len(spans))],
        'query_ids': [f'{name}#{q}' for q in range(len(spans))],
        'gt_spans': [np.array(s, dtype=float).reshape(-1, 2) for s in spans],
    }


class Films:
    """A data set of made-up videos, as a step sees it."""

    def __init__(self, infos: list[dict], step: SpliceMoment) -> None:
        self.infos = infos
        self.pipeline = self
        self.transforms = [self.load, step]
        step.attach(self)

    def __len__(self) -> int:
        return len(self.infos)

    def get_data_info(self, index: int) -> dict:
        return dict(self.infos[index])

    @staticmethod
    def load(results: dict) -> dict:
        streams = {}
        for name, rate in RATES.items():
            count = max(1, round(results['duration'] * rate))
            times = (np.arange(count) + 0.5) / count * results['duration']
            streams[name] = (1000 * results['sample_idx'] + times)[:, None]
        return {**results, 'extent': results['duration'], 'streams': streams}

    def item(self, index: int, seed: int) -> dict:
        return {**self.load(self.get_data_info(index)), 'rng': np.random.default_rng([seed, 7])}


def films(**options) -> tuple[Films, SpliceMoment]:
    step = SpliceMoment(**{'prob': 1.0, 'tries': 20, 'too_alike': 1.0, **options})
    infos = [
        make_info(0, 60.0, [[[5, 20]], [[30, 33]], [[18, 40]]]),
        make_info(1, 45.0, [[[2, 9.5]], [[20, 22.2]]]),
        make_info(2, 30.0, [[[0, 30]], [[10.3, 16.4], [21, 25]]]),
    ]
    return Films(infos, step), step


def rows_in(results: dict, name: str, span) -> np.ndarray:
    """The rows whose middle is well inside a span."""
    rows = results['streams'][name][:, 0]
    at = (np.arange(len(rows)) + 0.5) / len(rows) * results['extent']
    return rows[(at > span[0] + 1e-3) & (at < span[1] - 1e-3)]


@pytest.mark.parametrize('mode', ['replace', 'insert'])
def test_the_new_sentence_points_at_rows_of_its_moment_and_the_others_at_theirs(mode):
    data, step = films(mode=mode)
    spliced = 0
    for seed in SEEDS:
        host = data.item(seed % 2, seed)
        results = step(host)
        if len(results['queries']) == len(host['queries']) and results is host:
            continue
        spliced += 1
        donor_id, host_id = results['query_ids'][-1].split('@')
        assert host_id == host['video_id'] != donor_id.split('#')[0]
        number, query = int(donor_id[1]), int(donor_id[3:])
        assert results['queries'][-1] == data.infos[number]['queries'][query]
        (span,) = results['gt_spans'][-1]
        assert 0 <= span[0] < span[1] <= results['duration'] + 1e-6
        truth = data.infos[number]['gt_spans'][query]
        for name, rate in RATES.items():
            shown = rows_in(results, name, span) - 1000 * number
            reach = 2 / rate
            assert len(shown) >= (span[1] - span[0]) * rate - 1.01
            assert any(((shown > s - reach) & (shown < e + reach)).all() for s, e in truth)
        # The host's own queries still point at the host's own rows, at those of their moment.
        assert len(results['queries']) >= 2
        for query_id, spans in zip(results['query_ids'][:-1], results['gt_spans'][:-1]):
            old = host['gt_spans'][host['query_ids'].index(query_id)]
            for start, end in spans:
                assert 0 <= start < end <= results['duration'] + 1e-6
                for name, rate in RATES.items():
                    shown = rows_in(results, name, (start, end)) - 1000 * host['sample_idx']
                    reach = 1 / rate
                    assert ((shown > old[0, 0] - reach) & (shown < old[0, 1] + reach)).all()
                assert end - start >= 0.75 * (old[0, 1] - old[0, 0]) - 1e-6
    assert spliced > 60


@pytest.mark.parametrize('mode', ['replace', 'insert'])
def test_time_stays_or_grows_by_the_piece(mode):
    data, step = films(mode=mode, margin=0.0)
    for seed in SEEDS:
        host = data.item(0, seed)
        results = step(host)
        # The finest stream, on whose clips the video is cut.
        before, after = host['streams']['audio'], results['streams']['audio']
        own = after[after[:, 0] < 1000]
        if mode == 'replace':
            assert results['extent'] == results['duration'] == 60
            assert len(after) == len(before)
            same = (after == before)[:, 0]
            gone = np.flatnonzero(~same)
            assert len(gone) == 0 or gone[-1] - gone[0] + 1 == len(gone)  # one piece
        else:
            grown = results['extent'] - 60
            assert results['duration'] == results['extent']
            assert len(after) - len(before) == pytest.approx(1.6 * grown)
            np.testing.assert_array_equal(own, before)  # nothing is lost, all in order


def test_the_place_costs_the_queries_least():
    """Half of the video shows nothing that is asked for: the piece goes there."""
    step = SpliceMoment(prob=1.0, tries=20, margin=0.0, too_alike=1.0)
    infos = [make_info(0, 60.0, [[[0, 30]], [[2, 29]]]), make_info(1, 30.0, [[[5, 15]]])]
    data = Films(infos, step)
    starts = set()
    for seed in SEEDS:
        results = step(data.item(0, seed))
        assert results['query_ids'] == ['v0#0', 'v0#1', 'v1#0@v0']
        start, end = results['gt_spans'][-1][0]
        assert start >= 30
        assert end - start == pytest.approx(10)
        starts.add(start)
    assert len(starts) > 10


def test_a_moment_that_is_hit_is_cut_or_dropped():
    step = SpliceMoment(margin=0.0, min_inside=0.6)
    Films([make_info(0, 10.0, [[[0, 1]]])], step)
    from demul_mm.datasets.transforms.splice import Piece

    piece = Piece({}, 0, 0.0, 4.0, (0.0, 4.0))
    spans = np.array([[0.0, 10.0], [4.0, 6.0], [12.0, 14.0]])
    parts, enough = step._left_of(spans, np.array([1.0, 3.0, 8.0]), piece)
    assert enough.tolist() == [[False, False, True], [False, False, True], [True, True, True]]
    np.testing.assert_allclose(parts[2, 0], [0, 8])
    step.min_inside = 0.5
    parts, enough = step._left_of(spans, np.array([1.0]), piece)
    assert enough.tolist() == [[True, True, True]]
    np.testing.assert_allclose(parts[0], [[5, 10], [5, 6], [12, 14]])


def test_nothing_changes_where_nothing_fits():
    whole = [make_info(0, 60.0, [[[0, 60]]]), make_info(1, 50.0, [[[0, 50]]])]
    step = SpliceMoment(prob=1.0, max_share=0.5)
    data = Films(whole, step)
    item = data.item(0, 0)
    assert step(item) is item
    alone = Films(whole[:1], step)
    assert step(item := alone.item(0, 0)) is item
    never, step = films(prob=0.0)
    assert step(item := never.item(0, 0)) is item


def test_a_sentence_that_may_be_true_elsewhere_stays_out():
    """Not when the words are nearly those of a query that an earlier step dropped, either."""
    step = SpliceMoment(prob=1.0, tries=40)
    infos = [
        make_info(0, 60.0, [[[5, 20]], [[30, 33]]], ['a man runs fast', 'a dog sits']),
        make_info(1, 45.0, [[[2, 9]], [[20, 22]]], ['A man runs very fast.', 'the cat eats']),
    ]
    data = Films(infos, step)
    texts = set()
    for seed in SEEDS:
        item = data.item(0, seed)
        for key in ('queries', 'query_ids', 'gt_spans'):
            item[key] = item[key][1:]
        texts.add(step(item)['queries'][-1])
    assert texts == {'the cat eats'}


def test_streams_that_either_video_lacks():
    data, step = films()
    lacking = data.load

    def load(results):
        results = lacking(results)
        if results['sample_idx'] == 2:
            results['streams']['audio'] = None
        return results

    data.transforms[0] = load
    donors, without = set(), set()
    for seed in SEEDS:
        results = step(data.item(0, seed))
        donors.add(results['query_ids'][-1][:2])
        item = data.item(0, seed)
        item['streams']['audio'] = None
        results = step(item)
        assert results['streams']['audio'] is None
        without.add(results['query_ids'][-1][:2])
    assert donors == {'v1'}  # a piece without sound does not silence this video
    assert without == {'v1', 'v2'}


def test_the_item_is_not_touched_and_the_generator_decides():
    data, step = films()
    for seed in range(10):
        item = data.item(0, seed)
        before = {name: rows.copy() for name, rows in item['streams'].items()}
        one, two = step(item), step(data.item(0, seed))
        for name in before:
            np.testing.assert_array_equal(item['streams'][name], before[name])
            np.testing.assert_array_equal(one['streams'][name], two['streams'][name])
        assert one['query_ids'] == two['query_ids']
        assert len(item['queries']) == 3


def build(tmp_path, **options) -> JsonlMomentDataset:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        np.save(tmp_path / f'v{number}.npy', rng.normal(size=(20, 4)).astype(np.float32))
        info = make_info(number, 20.0, [[[1, 5]], [[9, 14]]])
        pairs = zip(info['queries'], info['gt_spans'])
        queries = [{'query': text, 'spans': spans.tolist()} for text, spans in pairs]
        rows.append({'video_id': f'v{number}', 'duration': 20.0, 'queries': queries})
    return JsonlMomentDataset(
        write_jsonl(tmp_path / 'a.jsonl', rows),
        split='train',
        features=dict(visual=dict(type='FolderStore', path=str(tmp_path), dim=4)),
        pipeline=[
            dict(type='LoadVideoFeature'),
            dict(type='SpliceMoment', prob=0.8, margin=0.1, too_alike=1.0, **options),
            dict(type='WordDrop', prob=0.5, rate=0.3),
            dict(type='PackMomentInputs'),
        ],
    )


def drawn(dataset, workers: int, epoch: int = 0) -> list:
    sampler = SeededSampler(dataset, shuffle=True, seed=3)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, sampler=sampler, num_workers=workers, batch_size=None)
    return [(item['inputs']['visual'].tolist(), item['data_samples'].queries) for item in loader]


def test_workers_and_resumption_change_nothing(tmp_path):
    dataset = build(tmp_path)
    alone = drawn(dataset, 0, epoch=1)
    assert sum(len(queries) > 2 for _, queries in alone) >= 2
    assert drawn(dataset, 0, epoch=0) != alone
    assert drawn(dataset, 2, epoch=1) == alone  # though epoch 0 was not drawn before
    assert drawn(pickle.loads(pickle.dumps(dataset)), 0, epoch=1) == alone
    subset = dataset.get_subset([0, 1])  # draws from itself
    texts = {text for _ in range(20) for item in subset for text in item['data_samples'].queries}
    assert {text.split()[-1] for text in texts if 'film v' in text} <= {
        'v0',
        'v1',
    }


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='blend'), "allowed: 'replace', 'insert'"),
        (dict(prob=2), 'prob=2'),
        (dict(margin=-1), 'margin=-1'),
        (dict(max_share=0), 'max_share=0'),
        (dict(tries=0), 'at least 1'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SpliceMoment(**options)


def test_without_other_videos_it_says_so():
    data, _ = films()
    with pytest.raises(ValueError, match='knows no other videos'):
        SpliceMoment(prob=1.0)(data.item(0, 0))
    nested = SpliceMoment(prob=1.0, too_alike=1.0)
    nested.attach(Films(data.infos, SpliceMoment()))
    with pytest.raises(ValueError, match='inside another step'):
        [nested(data.item(0, seed)) for seed in range(20)]
