"""Browsing a data set whose pipeline augments: the picture shows it before and after."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from demul_mm.datasets import MomentDataset
from demul_mm.datasets.transforms import Augmentation
from demul_mm.registry import DATASETS
from demul_mm.visualization import browsing
from tests.datasets.helpers import video, write_jsonl

SPEED = dict(type='SpeedChange', prob=1.0, low=2.0, high=2.0, whole=1.0)
WORDS = dict(type='WordDrop', prob=1.0, rate=1.0, keep=1)


# Every augmentation there is, with what it surely does to the video below.
EACH = {
    'SpeedChange': dict(low=2.0, high=2.0, whole=1.0),
    'WordDrop': dict(rate=1.0, keep=1),
    'TemporalCrop': dict(min_keep=0.1),
    'ClipDrop': dict(rate=0.9),
    'SpliceMoment': dict(mode='insert', tries=50),
}


def build(tmp_path: Path, steps: list[dict]) -> MomentDataset:
    for name in 'ab':
        rows = np.random.default_rng(ord(name)).normal(size=(20, 4)).astype(np.float32)
        np.save(tmp_path / f'{name}.npy', rows)
    other = video('b', queries=[{'query': 'rain falls', 'spans': [[2.0, 6.0]]}])
    pipeline = [dict(type='LoadVideoFeature'), *steps, dict(type='PackMomentInputs')]
    with DefaultScope.overwrite_default_scope('demul_mm'):
        return DATASETS.build(
            dict(
                type='JsonlMomentDataset',
                ann_file=write_jsonl(tmp_path / 'a.jsonl', [video('a'), other]),
                split='train',
                features=dict(visual=dict(type='FolderStore', path=str(tmp_path), dim=4)),
                pipeline=pipeline,
            )
        )


def test_each_augmentation_has_its_own_picture(tmp_path: Path) -> None:
    known = {cls.__name__ for cls in Augmentation.__subclasses__()}
    assert known == set(EACH)
    steps = [dict(type=kind, prob=0.01, **options) for kind, options in EACH.items()]
    dataset = build(tmp_path, steps)
    plain = browsing.run_pipeline(dataset, 0, 0, only=[])
    alone = browsing.run_alone(dataset, 0, 0)
    assert [title.split('(')[0] for title in alone] == list(EACH)
    for title, results in alone.items():
        differs = [
            results['queries'] != plain['queries'],
            results['extent'] != plain['extent'],
            not np.array_equal(results['streams']['visual'], plain['streams']['visual']),
        ]
        assert any(differs), title
        assert 'prob=0.01' in title
    assert all(step.prob == 0.01 for step in browsing.augmentations_of(dataset))
    assert alone[next(t for t in alone if t.startswith('Splice'))]['queries'][-1] == 'rain falls'
    figure = browsing.draw_item(dataset.get_data_info(0), plain, [], 12, alone)
    titles = [axes.get_title(loc='left') for axes in figure.axes]
    assert [t.split('(')[0] for t in titles if t.endswith('alone')] == list(EACH)


@pytest.mark.parametrize('steps', [[SPEED, WORDS], []])
def test_before_and_after(tmp_path: Path, steps: list[dict]) -> None:
    dataset = build(tmp_path, steps)
    info = dataset.get_data_info(0)
    before = browsing.run_pipeline(dataset, 0, 0, only=[])
    after = browsing.run_pipeline(dataset, 0, 0)
    assert before['extent'] == 20
    assert before['queries'] == info['queries']
    assert after['extent'] == (10 if steps else 20)
    assert after['queries'] == (['runs', 'sleeps'] if steps else info['queries'])
    figure = browsing.draw_item(info, before if steps else None, [after], 12)
    titles = [axes.get_title(loc='left') for axes in figure.axes]
    strips = ['visual: (20, 4)', 'visual: (10, 4)'] if steps else ['visual: (20, 4)']
    assert [title for title in titles if title.startswith('visual')] == strips
    assert any(title.startswith('before augmentation') for title in titles) == bool(steps)
    # The same seconds are equally wide before and after.
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 20)}


def test_a_false_variant_stands_behind_its_sentence(tmp_path: Path) -> None:
    dataset = build(tmp_path, [dict(type='RewordQueries', prob=1.0, min_count=1)])
    results = browsing.run_pipeline(dataset, 0, 0)
    results['hard_queries'] = ['a cow runs', '']
    figure = browsing.draw_item(dataset.get_data_info(0), None, [results], 12)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert 'a dog runs   (false: a cow runs)' in texts
    assert texts.count('a cat sleeps') == 2
