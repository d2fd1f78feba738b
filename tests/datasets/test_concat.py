"""Several data sets: one to train on, and a table for each at test."""

import json

import pytest
from mmengine.evaluator import Evaluator

from demul_mm.datasets import ConcatDataset
from demul_mm.datasets.samplers.seeded import SeededIndex
from demul_mm.evaluation.metrics import DumpPredictions, MomentRecall
from tests.datasets.helpers import video
from tests.datasets.test_base import build, with_features
from tests.evaluation.helpers import make_sample


def two(tmp_path, **options):
    built = []
    for name, split in (('one', 'train'), ('two', 'val')):
        folder = tmp_path / name
        folder.mkdir()
        made = with_features(folder, 'ab')
        made['features']['visual']['path'] = 'features/train'
        built.append(build(folder, [video('a'), video('b')], name=name, **{**made, **options}))
        built[-1].split = split
    return built


def test_names_and_splits_may_differ(tmp_path):
    both = ConcatDataset(two(tmp_path))
    assert len(both) == 4
    assert both.metainfo == {'dataset_name': 'one + two', 'split': 'train + val'}
    samples = [both[index]['data_samples'] for index in range(4)]
    assert [sample.video_id for sample in samples] == ['a', 'b', 'a', 'b']
    assert [sample.sample_idx for sample in samples] == [0, 1, 2, 3]
    assert [sample.dataset for sample in samples] == ['one train'] * 2 + ['two val'] * 2
    with pytest.raises(ValueError, match=r"2 data sets .* 'one train'; give each a 'name'"):
        ConcatDataset([both.datasets[0], both.datasets[0]])


def test_seeds_reach_the_items(tmp_path):
    both = ConcatDataset(two(tmp_path))
    seen = []
    both.datasets[1].pipeline = lambda results: seen.append(results) or both[0]
    assert both[SeededIndex(3, (5, 1))]
    alone = both.datasets[1]
    alone.prepare_data(SeededIndex(1, (5, 1)))
    first, second = (results['rng'].random() for results in seen)
    assert first == second


def test_each_has_its_own_table(tmp_path):
    """The same video and query ids: right in one data set, wrong in the other."""
    metrics = [
        MomentRecall(topk=(1,), ious=(0.5,), floors=False),
        DumpPredictions(out_path=str(tmp_path / 'p.json')),
    ]
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = {'dataset_name': 'one + two', 'split': 'train + val'}
    for name, span in (('one train', [0, 10, 1.0]), ('two val', [20, 30, 1.0])):
        sample = make_sample(0, gt=[[[0, 10]]], pred=[[span]])
        sample['dataset'] = name
        evaluator.process([sample])
    found = evaluator.evaluate(2)
    assert found['one train/R@1,IoU=0.5'] == 100
    assert found['two val/R@1,IoU=0.5'] == 0
    for name, split in (('one', 'train'), ('two', 'val')):
        dumped = json.loads((tmp_path / f'p_{name}_{split}.json').read_text())
        assert dumped['meta'] == {'dataset': name, 'split': split}
        assert len(dumped['predictions']) == 1
