"""Finding moments in given videos."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from demul_mm.apis import MomentInferencer
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import INFERENCERS
from demul_mm.structures import MomentDataSample
from demul_mm.structures.nms import SoftNMS
from tests.apis.small import SmallCorpus, make_small_corpus
from tests.models.tiny import SENTENCES, predictions_of

CLOSE = dict(rtol=1e-4, atol=1e-3)


@pytest.fixture
def find(corpus: SmallCorpus) -> MomentInferencer:
    config = dict(type='MomentInferencer', model=corpus.config, weights=corpus.checkpoint)
    return INFERENCERS.build(config)


@pytest.fixture
def encoded_videos(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many videos went through the encoder, one number for each batch."""
    batches: list[int] = []
    encode = DeMUL.encode_video

    def count(self: DeMUL, inputs: dict) -> Any:
        batches.append(len(next(iter(inputs['streams'].values()))[0]))
        return encode(self, inputs)

    monkeypatch.setattr(DeMUL, 'encode_video', count)
    return batches


def same(one: dict, two: dict) -> None:
    assert (one['query'], len(one['spans'])) == (two['query'], len(two['spans']))
    np.testing.assert_allclose(one['spans'], two['spans'], **CLOSE)
    np.testing.assert_allclose(one['probabilities'], two['probabilities'], **CLOSE)


def test_answers_are_the_models_predictions(find: MomentInferencer, corpus: SmallCorpus) -> None:
    ids, queries = ['v0', 'v2', 'v4'], list(SENTENCES[:3])
    results = find(ids, queries, durations=[corpus.durations[i] for i in ids])
    samples = []
    for video_id in ids:
        sample = MomentDataSample()
        sample.set_metainfo(dict(video_id=video_id, duration=corpus.durations[video_id]))
        sample.queries = queries
        samples.append(sample)
    inputs = dict(visual=[torch.from_numpy(corpus.features[i]) for i in ids])
    expected = predictions_of(find.model, dict(inputs=inputs, data_samples=samples))
    assert [(r['video_id'], r['query']) for r in results] == [(i, q) for i in ids for q in queries]
    moments = [m for sample in expected for m in sample.pred_moments]
    for result, wanted in zip(results, moments):
        np.testing.assert_allclose(result['spans'], wanted.spans, **CLOSE)
        np.testing.assert_allclose(result['probabilities'], wanted.scores, **CLOSE)
        terms = [sum(row.values()) for row in result['terms']]
        np.testing.assert_allclose(terms, wanted.terms.sum(-1), **CLOSE)
        assert result['error'] is None


def test_a_video_is_the_same_however_it_is_given(
    find: MomentInferencer, corpus: SmallCorpus
) -> None:
    array, seconds = corpus.features['v3'], corpus.durations['v3']
    file = str(corpus.root / 'features' / 'v3.npy')
    given = ['v3', file, Path(file), array, torch.from_numpy(array), dict(visual=array)]
    results = find(given, SENTENCES[0], durations=[seconds] * len(given))
    for result in results[1:]:
        same(result, results[0])
    (alone,) = find(array, SENTENCES[0], durations=[seconds])
    same(alone, results[0])


def test_a_video_is_encoded_once(
    find: MomentInferencer, corpus: SmallCorpus, encoded_videos: list[int]
) -> None:
    array = corpus.features['v0']
    (first,) = find([array], SENTENCES[0], durations=[26.0])
    (again,) = find([array.copy()], SENTENCES[0], durations=[26.0])
    find([array, array], SENTENCES[1], durations=[26.0, 26.0])
    assert encoded_videos == [1]
    assert first == again
    array[0, 0] += 1
    find([array], SENTENCES[0], durations=[26.0])
    array[0, 0] -= 1
    assert encoded_videos == [1, 1]


def test_encodings_on_disk_serve_the_next_process(
    corpus: SmallCorpus, tmp_path: Path, encoded_videos: list[int]
) -> None:
    options = dict(model=corpus.config, weights=corpus.checkpoint, cache_dir=tmp_path)
    ask = dict(videos=['v0', 'v1'], queries=SENTENCES[0], durations=[26.0, 16.0])
    first = MomentInferencer(**options)(**ask)
    second = MomentInferencer(**options)(**ask)
    assert first == second
    assert encoded_videos == [2]
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert MomentInferencer(**options)(**ask) == first  # damaged: encoded again
    assert encoded_videos == [2, 2]
    other = dict(options, weights=None)
    torch.manual_seed(1)
    MomentInferencer(**other)(**ask)
    assert encoded_videos == [2, 2, 2]  # other weights


@pytest.mark.parametrize('change', ['clip_seconds', 'num_clips', 'rows'])
@pytest.mark.parametrize('given', ['id', 'file', 'array'])
def test_encodings_on_disk_are_of_the_same_inputs(tmp_path: Path, change: str, given: str) -> None:
    """Of rows as long, as many clips and the same numbers as now, not of those asked for before."""
    corpus = make_small_corpus(tmp_path / 'small', clip_seconds=2.0)
    file = tmp_path / 'small' / 'features' / 'v3.npy'

    def ask(cache_dir: Path | None) -> list[dict]:
        find = MomentInferencer(config, corpus.checkpoint, cache_dir=cache_dir)
        video = dict(id='v3', file=file, array=np.load(file))[given]
        return find(video, SENTENCES[0], explain=False)

    config = Config.fromfile(corpus.config)
    before = ask(tmp_path / 'cache')
    dataset = config.test_dataloader.dataset
    if change == 'clip_seconds':
        dataset.features.visual.clip_seconds = 1.0
    elif change == 'num_clips':
        dataset.pipeline[1].num_clips = 8
    else:
        np.save(file, np.load(file)[::-1])
    (fresh,), (kept,) = ask(None), ask(tmp_path / 'cache')
    same(kept, fresh)
    assert kept['spans'] != before[0]['spans']


def test_encodings_on_disk_are_of_the_same_extractor(
    corpus: SmallCorpus, tmp_path: Path, encoded_videos: list[int]
) -> None:
    class Rows:
        def __init__(self, video_id: str, **mark: str) -> None:
            self.video_id = video_id
            self.__dict__.update(mark)

        def __call__(self, path: str) -> tuple[np.ndarray, float]:
            return corpus.features[self.video_id], corpus.durations[self.video_id]

    film = tmp_path / 'film.mp4'
    film.write_bytes(b'any')

    def duration(extractor: Rows) -> float:
        options = dict(extractor=extractor, cache_dir=tmp_path / 'cache')
        find = MomentInferencer(corpus.config, corpus.checkpoint, **options)
        return find(film, SENTENCES[0], explain=False)[0]['duration']

    for _ in range(2):
        assert duration(Rows('v0')) == 26
        assert duration(Rows('v2')) == 40
    assert not (tmp_path / 'cache').exists()
    assert encoded_videos == [1] * 4
    for _ in range(2):
        assert duration(Rows('v0', fingerprint='a')) == 26
        assert duration(Rows('v2', fingerprint='b')) == 40
    assert encoded_videos == [1] * 6


def test_broken_videos_are_reported_and_skipped(
    find: MomentInferencer, corpus: SmallCorpus, tmp_path: Path
) -> None:
    np.save(tmp_path / 'nan.npy', np.full((4, 12), np.nan, np.float32))
    (tmp_path / 'cut.npy').write_bytes(b'no array')
    wide = np.zeros((4, 13), np.float32)
    videos = ['v0', tmp_path / 'nan.npy', 'absent', wide, tmp_path / 'cut.npy', 'v1']
    results = find(videos, SENTENCES[:2], durations=[26.0, 8.0, 8.0, 8.0, 8.0, 16.0])
    assert len(results) == 12
    errors = [r['error'] for r in results[::2]]
    assert (errors[0], errors[5]) == (None, None)
    for text, error in zip(('NaN', 'neither a file', '13 values', 'cannot be read'), errors[1:5]):
        assert text in error
    for result in results[2:10]:
        assert (result['spans'], result['no_moment']) == ([], True)
    assert all(result['spans'] for result in results[:2] + results[10:])
    with pytest.raises(ValueError, match='neither a file'):
        find(['absent'], SENTENCES[0])


def test_no_moment_below_the_threshold(find: MomentInferencer) -> None:
    def ask(threshold: float) -> dict:
        return find('v0', SENTENCES[0], durations=[26.0], no_moment_threshold=threshold)[0]

    everything = ask(0.0)
    middle = everything['probabilities'][1]
    assert ask(middle - 1e-5)['probabilities'] == everything['probabilities'][:2]
    nothing = ask(1.0)
    assert (nothing['no_moment'], nothing['spans']) == (True, [])
    assert not everything['no_moment']
    assert len(find('v0', SENTENCES[0], durations=[26.0], num_moments=2)[0]['spans']) == 2


def test_no_moment_where_the_query_does_not_match_the_video(find: MomentInferencer) -> None:
    calibrator = find.model.calibrator
    ask = dict(videos='v0', queries=list(SENTENCES), durations=[26.0])
    assert [result['match'] for result in find(**ask)] == [1.0] * len(SENTENCES)  # not fitted
    likeness = [result['terms'][0]['video'] for result in find(**ask)]
    middle = sorted(likeness)[2]
    calibrator.match_levels.copy_(torch.linspace(middle - 0.5, middle + 0.5, 99))
    calibrator.match_levels[49] = middle - 1e-3
    results = find(**ask, no_match_threshold=0.5)
    for result, value in zip(results, likeness):
        assert result['no_moment'] == (value < middle - 1e-4) == (not result['spans'])
        assert (result['match'] < 0.5) == result['no_moment']
        assert [phrase['text'] for phrase in result['phrases']] == result['query'].split()
    assert [r['spans'] for r in find(**ask)] != [r['spans'] for r in results]


def test_a_suppression_that_leaves_nothing_changes_no_match(find: MomentInferencer) -> None:
    ask = dict(videos='v0', queries=list(SENTENCES), durations=[26.0])
    likeness = sorted(result['terms'][0]['video'] for result in find(**ask))
    find.model.calibrator.match_levels.copy_(torch.linspace(likeness[0], likeness[-1], 99))
    before = find(**ask)
    find.model.nms = SoftNMS(min_score=1.0)
    after = find(**ask)
    assert [one['match'] for one in after] == [one['match'] for one in before]
    assert len({one['match'] for one in after}) > 2
    assert all(one['no_moment'] and one['spans'] == [] for one in after)


def test_phrases_say_which_words_speak_for_which_clips(
    find: MomentInferencer, tmp_path: Path
) -> None:
    (result,) = find('v0', SENTENCES[2], durations=[26.0], out_dir=tmp_path)
    assert [phrase['text'] for phrase in result['phrases']] == SENTENCES[2].split()
    for phrase in result['phrases']:
        assert len(phrase['clips']) == 13
        assert len(phrase['weight']) == len(result['spans'])
        for (start, end), weight in zip(result['spans'], phrase['weight']):
            first, last = int(start // 2), min(12, int(end // 2))  # clips of two seconds
            inside = phrase['clips'][first : last + 1]
            assert min(inside) - 1e-3 <= weight <= max(inside) + 1e-3
    assert (tmp_path / 'v0.png').stat().st_size > 1000
    (plain,) = find('v0', SENTENCES[2], durations=[26.0], explain=False)
    assert plain == {**result, 'phrases': []}


def test_queries_for_each_video(find: MomentInferencer) -> None:
    both = find(['v0', 'v1'], [SENTENCES[:2], SENTENCES[2:3]], durations=[26.0, 16.0])
    assert [(r['video_id'], r['query']) for r in both] == [
        ('v0', SENTENCES[0]),
        ('v0', SENTENCES[1]),
        ('v1', SENTENCES[2]),
    ]
    (alone,) = find('v1', SENTENCES[2], durations=[16.0])
    same(alone, both[2])


@pytest.mark.parametrize(
    ('ask', 'error'),
    [
        (lambda find: find('v0', 'a disc', duration=[26.0]), TypeError),
        (lambda find: find('v0', 'a disc'), ValueError),  # seconds unknown
        (lambda find: find('v0', [], durations=[26.0]), ValueError),
        (lambda find: find('v0', ['a disc', ['b']], durations=[26.0]), ValueError),
        (lambda find: find('v0', 'a disc', durations=[26.0, 3.0]), ValueError),
        (lambda find: find('v0', 'a disc', durations=[26.0], num_moments=0), ValueError),
        (lambda find: find('v0', 'a disc', no_moment_threshold=2.0), ValueError),
        (lambda find: find('v0', 'a disc', durations=[26.0], no_match_threshold=-1), ValueError),
        (lambda find: find('clip.mp4', 'a disc'), ValueError),
    ],
)
def test_wrong_options_are_refused(
    find: MomentInferencer, ask: Callable[[MomentInferencer], Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(find)


def test_a_picture_of_each_video(find: MomentInferencer, tmp_path: Path) -> None:
    find(['v0', 'v1'], SENTENCES[:2], durations=[26.0, 16.0], out_dir=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['v0.png', 'v1.png']
