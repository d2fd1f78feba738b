"""One string is one name, never its letters; each place that takes names is shown one."""

import numpy as np
import pytest

from demul_mm.datasets.rewording import SimilarWords
from demul_mm.datasets.transforms import PackMomentInputs, ResampleClips
from demul_mm.evaluation.metrics import DiDeMoMetric
from demul_mm.files import ids_of
from demul_mm.index import ExactIndex, SearchFilter
from demul_mm.structures import MomentDataSample, as_names
from tests.index.corpus import make_entry


def test_one_string_is_one_name() -> None:
    assert as_names('12') == ['12']
    assert as_names(('1', '2')) == ['1', '2']
    assert as_names(name for name in 'ab') == ['a', 'b']
    assert as_names([]) == []
    for wrong in ([1], ['a', None], b'ab', [b'ab']):
        with pytest.raises(TypeError, match=r'ids holds .*; give strings'):
            as_names(wrong, 'ids')


@pytest.fixture
def index() -> ExactIndex:
    made = ExactIndex()
    made.build([make_entry(name, number) for number, name in enumerate(['1', '2', '12'])])
    return made


def test_removing_one_video(index: ExactIndex) -> None:
    assert index.remove('12') == 1
    assert index.get('1')[0].video_id == '1'
    with pytest.raises(KeyError, match="'12'"):
        index.get('12')


def test_filters(index: ExactIndex) -> None:
    query = np.ones((1, 32), np.float32)
    for where, found in (
        (SearchFilter(video_ids='12'), {'12'}),
        (SearchFilter(excluded_ids='12'), {'1', '2'}),
    ):
        result = index.search(query, num_moments=20, where=where)
        assert set(result.hits[0].video_ids) == found
    with pytest.raises(ValueError, match="'in' needs a list"):
        SearchFilter(conditions=[('channel', 'in', 'abc')])


def test_settings_and_samples() -> None:
    assert ResampleClips(4, streams='visual').streams == ('visual',)
    assert PackMomentInputs(meta_keys='video_id').meta_keys == ('video_id',)
    with pytest.raises(TypeError, match=r'give a list, as topk=\[12\]'):
        DiDeMoMetric(topk='12')
    assert ids_of('cat/12.mp4') == {'cat/12.mp4': '12'}
    sample = MomentDataSample()
    sample.queries = 'a dog runs'
    assert sample.queries == ['a dog runs']
    one, several = SimilarWords('a dog runs', 1), SimilarWords(['a dog runs'], 1)
    assert vars(one) == vars(several)
