"""Every data set config with every kind of store: batches come out as the model takes them."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from demul_mm.datasets import PackedWriter
from tests.datasets.helpers import video

BASE = Path(__file__).resolve().parents[2] / 'configs' / '_base_'
VIDEOS = [f'v{number}' for number in range(40)]


def write_all_forms(root: Path) -> None:
    """Forty videos of three queries in the form of each data set."""
    folder = root / 'annotations'
    folder.mkdir()
    times, sentences = [[0, 5], [3, 9], [10, 20]], ['a', 'b', 'c']
    entry = {
        'timestamps': times,
        'sentences': sentences,
        'duration': 20,
        'fps': 1,
        'num_frames': 20,
    }
    chunks = {'num_segments': 6, 'times': [[0, 1]] * 4, 'description': 'a'}
    didemo = [
        {'video': v, 'annotation_id': 3 * i + k, **chunks}
        for i, v in enumerate(VIDEOS)
        for k in range(3)
    ]
    tvr = [
        {'vid_name': v, 'duration': 20, 'ts': t, 'desc': 'a', 'desc_id': f'{v}{k}', 'type': 'v'}
        for v in VIDEOS
        for k, t in enumerate(times)
    ]
    qvhighlights = [
        {
            'qid': 3 * i + k,
            'query': 'a',
            'vid': v,
            'duration': 20,
            'relevant_windows': times[: k + 1],
        }
        for i, v in enumerate(VIDEOS)
        for k in range(3)
    ]
    lines = [f'{v} {a} {b}##{s}' for v in VIDEOS for (a, b), s in zip(times, sentences)]
    for split in ('train', 'val', 'test'):
        (folder / f'{split}.json').write_text(json.dumps(dict.fromkeys(VIDEOS, entry)))
        (folder / f'{split}_data.json').write_text(json.dumps(didemo))
        (folder / f'tvr_{split}_release.jsonl').write_text('\n'.join(map(json.dumps, tvr)))
        text = '\n'.join(map(json.dumps, qvhighlights))
        (folder / f'highlight_{split}_release.jsonl').write_text(text)
        (folder / f'charades_sta_{split}.txt').write_text('\n'.join(lines))
        durations = '\n'.join(['id,length', *(f'{v},20' for v in VIDEOS)])
        (folder / f'Charades_v1_{split}.csv').write_text(durations)
        rows = [json.dumps(video(v)) for v in VIDEOS]
        (root / f'{split}.jsonl').write_text('\n'.join(rows))


def write_features(path: Path, rows: np.ndarray) -> None:
    """The same features for each of the videos, in the container that the name says."""
    if path.suffix == '.hdf5':
        path.parent.mkdir()
        with h5py.File(path, 'w') as file:
            for name in VIDEOS:
                file[name] = rows
        return
    with PackedWriter(str(path), dim=rows.shape[1]) as writer:
        for name in VIDEOS:
            writer.add(name, rows)


def leaf(root: Path, dataset: str, feature: str) -> Config:
    path = root / 'leaf.py'
    changes = 'dict(dataset=dict(data_root=root, features={{_base_.features}}))'
    path.write_text(
        f'_base_ = [{str(BASE / "datasets" / dataset)!r}, {str(BASE / "features" / feature)!r}]\n'
        f'root = {str(root)!r}\n'
        f'train_dataloader = {changes}\nval_dataloader = {changes}\ntest_dataloader = {changes}\n'
    )
    return Config.fromfile(path)


@pytest.fixture
def our_scope():
    with DefaultScope.overwrite_default_scope('demul_mm'):
        yield


FEATURES = sorted(path.name for path in (BASE / 'features').glob('*.py'))
DATASETS = ['activitynet.py', 'charades.py', 'tacos.py', 'didemo.py', 'tvr.py', 'rendered.py']
DATASETS += ['qvhighlights.py']
HOLDING_OUT = ('activitynet.py', 'charades.py', 'tvr.py', 'qvhighlights.py')  # a part of train
METRICS = {'didemo.py': 'DiDeMoMetric', 'qvhighlights.py': 'QVHighlightsMetric'}


def test_no_config_is_left_out():
    found = {path.name for path in (BASE / 'datasets').glob('*.py')}
    assert found == {*DATASETS, 'common.py'}


@pytest.mark.usefixtures('our_scope')
@pytest.mark.parametrize(
    ('dataset', 'feature', 'workers'),
    [(name, 'simulated.py', 0) for name in DATASETS]
    + [('activitynet.py', name, 0) for name in FEATURES if name != 'simulated.py']
    + [('charades.py', 'simulated.py', 2)],
)
def test_batches(tmp_path, dataset, feature, workers):
    write_all_forms(tmp_path)
    config = leaf(tmp_path, dataset, feature)
    dim = config.feature_dim
    rows = 300 if dim == 256 else 4
    for split in ('train', 'val', 'test', 'val_2'):
        path = config.features.visual.path.replace('{split}', split)
        if not (tmp_path / path).exists():
            write_features(tmp_path / path, np.ones((rows, dim), np.float32))
    seen = {}
    for part in ('train', 'val', 'test'):
        loader_config = config[f'{part}_dataloader']
        loader_config.num_workers = workers
        loader = Runner.build_dataloader(loader_config, seed=0)
        ids = []
        for batch in loader:
            assert len(batch['inputs']['visual']) == len(batch['data_samples']) <= 16
            for clips, sample in zip(batch['inputs']['visual'], batch['data_samples']):
                most = config.get('num_clips', 128)
                # In training, time is also cropped, stretched and compressed.
                steps = {step['type'] for step in loader_config.dataset.pipeline}
                changed = bool(steps & {'TemporalCrop', 'SpeedChange'})
                assert 1 <= len(clips) <= most if changed else len(clips) == min(most, rows)
                assert clips.shape[1:] == (dim,)
                assert len(sample.queries) == len(sample.gt_spans) <= 4
                ids.append(sample.video_id)
        assert len(set(ids)) == len(ids)
        seen[part] = set(ids)
    if dataset in (
        'activitynet.py',
        'charades.py',
        'tvr.py',
        'qvhighlights.py',
    ):  # a part of train is held out
        assert seen['train'] | seen['val'] == set(VIDEOS)
        assert not seen['train'] & seen['val']
    assert seen['test'] == set(VIDEOS)
    assert config.test_evaluator.type == METRICS.get(dataset, 'MomentRecall')
