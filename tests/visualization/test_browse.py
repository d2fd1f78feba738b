"""Browsing a data set whose pipeline augments: the picture shows it before and after."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from demul_mm.registry import DATASETS
from tests.datasets.helpers import video, write_jsonl

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'visualization' / 'browse_dataset.py'
SPEED = dict(type='SpeedChange', prob=1.0, low=2.0, high=2.0, whole=1.0)
WORDS = dict(type='WordDrop', prob=1.0, rate=1.0, keep=1)


@pytest.mark.parametrize('steps', [[SPEED, WORDS], []])
def test_before_and_after(tmp_path: Path, steps: list[dict]) -> None:
    np.save(tmp_path / 'a.npy', np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    pipeline = [dict(type='LoadVideoFeature'), *steps, dict(type='PackMomentInputs')]
    with DefaultScope.overwrite_default_scope('demul_mm'):
        dataset = DATASETS.build(
            dict(
                type='JsonlMomentDataset',
                ann_file=write_jsonl(tmp_path / 'a.jsonl', [video('a')]),
                split='train',
                features=dict(visual=dict(type='FolderStore', path=str(tmp_path), dim=4)),
                pipeline=pipeline,
            )
        )
    tool = runpy.run_path(str(TOOL))
    info = dataset.get_data_info(0)
    before = tool['run_pipeline'](dataset, 0, 0, augment=False)
    after = tool['run_pipeline'](dataset, 0, 0)
    assert before['extent'] == 20
    assert before['queries'] == info['queries']
    assert after['extent'] == (10 if steps else 20)
    assert after['queries'] == (['runs', 'sleeps'] if steps else info['queries'])
    figure = tool['draw_item'](info, before if steps else None, [after], 12)
    titles = [axes.get_title(loc='left') for axes in figure.axes]
    strips = ['visual: (20, 4)', 'visual: (10, 4)'] if steps else ['visual: (20, 4)']
    assert [title for title in titles if title.startswith('visual')] == strips
    assert any(title.startswith('before augmentation') for title in titles) == bool(steps)
    # The same seconds are equally wide before and after.
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 20)}
