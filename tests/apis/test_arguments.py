"""What users hand to the inferencers: the right answer, or one clear error before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demul_mm.apis import CorpusInferencer, MomentInferencer
from demul_mm.apis.arguments import as_durations, as_features, as_queries, as_videos
from tests.apis.small import SmallCorpus, make_small_corpus
from tests.models.tiny import FEATURES, SENTENCES


@pytest.fixture(scope='module')
def clips_of_a_second(tmp_path_factory: pytest.TempPathFactory) -> SmallCorpus:
    return make_small_corpus(tmp_path_factory.mktemp('second'), clip_seconds=1.0)


@pytest.fixture(scope='module')
def find(clips_of_a_second: SmallCorpus) -> MomentInferencer:
    return MomentInferencer(clips_of_a_second.config, clips_of_a_second.checkpoint, 'cpu')


def rows(count: int = 33) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, FEATURES)).astype(np.float32)


@pytest.mark.parametrize('seconds', [-3, 0, 1e-9, 1e12, 1e308, float('nan'), float('inf')])
def test_a_duration_is_a_length(find: MomentInferencer, seconds: float) -> None:
    with pytest.raises(ValueError, match=r'durations\[0\] is .*above 0'):
        find(rows(), SENTENCES[0], durations=[seconds])


def test_a_duration_fits_its_features(find: MomentInferencer) -> None:
    with pytest.raises(ValueError, match='33 s of features, 5 s of video'):
        find(rows(), SENTENCES[0], durations=[5.0])
    (answer,) = find(rows(), SENTENCES[0], durations=[32.5])
    assert answer['duration'] == 32.5
    broken, good = find([rows(), 'v0'], SENTENCES[0], durations=[90, None])
    assert '90 s of video' in broken['error']
    assert good['duration'] == 13.0


def test_a_feature_file_asked_again_with_another_duration(
    find: MomentInferencer, tmp_path: Path
) -> None:
    np.save(tmp_path / 'v.npy', rows())
    lengths = [find(tmp_path / 'v.npy', SENTENCES[0], durations=s)[0] for s in (33.0, 31.0)]
    assert [answer['duration'] for answer in lengths] == [33.0, 31.0]


@pytest.mark.parametrize(
    ('array', 'reason'),
    [
        (rows(0), 'empty'),
        (rows() * 1e25, 'values of up to'),
        (rows()[0], r'shape \(12,\)'),
        (rows().astype(complex), 'real numbers'),
        (rows() > 0, 'real numbers'),
        (rows().astype(object), 'real numbers'),
        (np.full((4, FEATURES), 1e300), 'NaN or infinity'),
        (torch.from_numpy(rows()).to(torch.complex64), 'real numbers'),
        (np.stack([rows(), rows()]), r'shape \(2, 33, 12\)'),
        ({'visual': None}, 'real numbers'),
        ({'sound': rows()}, "a stream 'sound'"),
    ],
)
def test_features_that_are_none(find: MomentInferencer, array: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        find([array], SENTENCES[0])


def test_features_of_every_form_are_the_same(find: MomentInferencer) -> None:
    whole = np.round(rows() * 8)
    tensor = torch.from_numpy(whole)
    forms = [
        whole.astype(np.float64),
        whole.astype(np.float16),
        whole.astype(np.int64),
        np.asfortranarray(whole),
        whole[None],
        whole[:, None, None],
        tensor,
        tensor.bfloat16(),
        tensor.half()[None],
        tensor.clone().requires_grad_(),
        tensor.int(),
        {'visual': tensor},
    ]
    expected, *others = find([whole, *forms], SENTENCES[0])
    for answer in others:
        assert answer['error'] is None
        assert {**answer, 'video_id': ''} == {**expected, 'video_id': ''}


@pytest.mark.parametrize('one', [33.0, 33, np.float32(33), np.array(33.0), torch.tensor(33.0)])
def test_a_number_is_the_duration_of_the_one_video(one: Any) -> None:
    assert as_durations(one, 1) == [33.0]
    assert as_durations(np.array([33.0, 4.0]), 2) == [33.0, 4.0]
    with pytest.raises(ValueError, match='1 durations were given for 2 videos'):
        as_durations(one, 2)


@pytest.mark.parametrize('wrong', ['33', ['33'], [True], [[1.0]], {'v': 3.0}, b'3'])
def test_a_duration_is_a_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match='durations'):
        as_durations(wrong, 1)


@pytest.mark.parametrize(
    ('wrong', 'error'),
    [
        (None, TypeError),
        ([None], TypeError),
        ([SENTENCES[0], None], TypeError),
        (3, TypeError),
        (b'a disc', TypeError),
        ({'q': 'a disc'}, TypeError),
        ([[SENTENCES[0]], [None]], TypeError),
        ([], ValueError),
        ('', ValueError),
        (['a disc', ' \t'], ValueError),
        ('a \ud800 disc', ValueError),
        ([['a disc'], []], ValueError),
        ([['a disc']], ValueError),
        (['a disc', ['b']], ValueError),
    ],
)
def test_queries_are_sentences(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match='quer'):
        as_queries(wrong, 2)


@pytest.mark.parametrize(
    ('wrong', 'error'),
    [
        (None, TypeError),
        ([None], TypeError),
        ([['v0']], TypeError),
        (7, TypeError),
        (b'v0', TypeError),
        ([], ValueError),
        ('', ValueError),
        ([{}], ValueError),
    ],
)
def test_videos_are_videos(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match='videos'):
        as_videos(wrong)


def test_lists_may_be_anything_that_gives_items() -> None:
    assert as_videos('v12') == ['v12']
    assert as_videos(name for name in ('v1', 'v2')) == ['v1', 'v2']
    assert as_queries(('a', 'b'), 1) == [['a', 'b']]
    assert as_queries(np.array(['a', 'b']), 2) == [['a', 'b'], ['a', 'b']]
    assert as_features(rows()[None], FEATURES).shape == (33, FEATURES)


def test_the_array_that_was_given_stays_as_it_is(find: MomentInferencer) -> None:
    array = rows()
    as_features(array, FEATURES)[:] = 0
    np.testing.assert_array_equal(array, rows())


Ask = Callable[[CorpusInferencer], Any]


@pytest.mark.parametrize(
    ('ask', 'error'),
    [
        (lambda search: search(None), TypeError),
        (lambda search: search([SENTENCES[0], None]), TypeError),
        (lambda search: search(' '), ValueError),
        (lambda search: search(SENTENCES[0], num_moments=0), ValueError),
        (lambda search: search(SENTENCES[0], num_fused=2.5), TypeError),
        (lambda search: search(SENTENCES[0], per_video=0), ValueError),
        (lambda search: search(SENTENCES[0], num_candidates=-1), ValueError),
        (lambda search: search(SENTENCES[0], no_moment_threshold=float('nan')), ValueError),
        (lambda search: search.session(None), TypeError),
        (lambda search: search.session([SENTENCES[0]]), TypeError),
    ],
)
def test_a_search_refuses_what_makes_no_sense(
    clips_of_a_second: SmallCorpus, ask: Ask, error: type[Exception]
) -> None:
    search = CorpusInferencer(clips_of_a_second.config, clips_of_a_second.checkpoint, device='cpu')
    with pytest.raises(error):  # before the lack of an index is noticed
        ask(search)


def test_a_corpus_of_given_videos(clips_of_a_second: SmallCorpus, tmp_path: Path) -> None:
    given = dict(model=clips_of_a_second.config, weights=clips_of_a_second.checkpoint, device='cpu')
    one = CorpusInferencer(**given, videos='v1', durations=8.0)
    assert one.bank.source.ids() == ['v1']
    named = CorpusInferencer(**given, videos=(f'v{i}' for i in range(3)))
    assert named.bank.source.ids() == ['v0', 'v1', 'v2']
    with pytest.raises(ValueError, match=r'durations\[1\] is nan'):
        CorpusInferencer(**given, videos=['v0', 'v1'], durations=[None, float('nan')])
    with pytest.raises(ValueError, match='a data set has its own'):
        CorpusInferencer(**given, durations=[3.0])
