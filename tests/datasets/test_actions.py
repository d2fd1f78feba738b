import numpy as np
import pytest

from demul_mm.datasets import CharadesSTADataset
from demul_mm.datasets.annotations import AnnotationError
from demul_mm.datasets.transforms import ActionQueries

INFO = """id,length,actions
AAAAA,20.00,c001 1.00 4.00;c002 5.00 9.00;c003 5.00 9.00
BBBBB,10.00,c001 2.00 12.00;c001 0.00 1.50;c002 3.00 4.00;c009 6.00 8.00
"""
QUERIES = """AAAAA 1.0 4.0##she opens a door.
AAAAA 5.0 9.0##she eats and drinks.
BBBBB 0.0 1.5##he opens the door.
"""


def build(tmp_path, info=INFO, queries=QUERIES, **kwargs):
    (tmp_path / 'q.txt').write_text(queries)
    (tmp_path / 'i.csv').write_text(info)
    return CharadesSTADataset(
        str(tmp_path / 'q.txt'), info_file=str(tmp_path / 'i.csv'), split='train', **kwargs
    )


def test_actions_without_a_query_are_asked_in_words_of_their_class(tmp_path):
    dataset = build(tmp_path, pipeline=[dict(type='ActionQueries', max_queries=5)])
    first, second = dataset[0], dataset[1]
    # All its actions have a query; that of two actions names neither.
    assert first['queries'] == ['she opens a door.', 'she eats and drinks.']
    # c002 and c009 have no sentence; the end is that of the video.
    assert len(second['queries']) == len(second['query_ids']) == len(second['gt_spans']) == 2
    assert second['queries'][1] in ('she opens a door.', 'he opens the door.')
    assert second['query_ids'][1] == 'BBBBB#action0'
    np.testing.assert_array_equal(second['gt_spans'][1], [[2.0, 10.0]])


def test_sentences_are_those_of_the_data_set_alone(tmp_path):
    data = build(tmp_path)
    step = ActionQueries(5)
    step.attach(build(tmp_path, queries=QUERIES.splitlines()[2]))
    assert step.transform(data.get_data_info(1))['queries'][1:] == ['he opens the door.']


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match='at least 1'):
        ActionQueries(0)
    with pytest.raises(ValueError, match='put it into the pipeline of a data set'):
        ActionQueries(1).transform({})
    with pytest.raises(ValueError, match="'AAAAA' has no labelled actions"):
        build(
            tmp_path,
            info='id,length\nAAAAA,20\nBBBBB,10\n',
            pipeline=[dict(type='ActionQueries', max_queries=5)],
        )[0]
    with pytest.raises(AnnotationError, match=r"line 2: action 'c001 3\.0', expected"):
        build(tmp_path, info='id,length,actions\nAAAAA,20,c001 3.0\n')[0]
