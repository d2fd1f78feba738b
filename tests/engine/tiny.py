"""The default DeMUL on a few made-up videos: real parts, random features, seconds to train."""

import json
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
DIM = 16
WIDTH = 32
CONFIG = """
_base_ = [
    '{root}/configs/_base_/datasets/rendered.py',
    '{root}/configs/_base_/models/demul_short.py',
    '{root}/configs/_base_/schedules/{schedule}.py',
    '{root}/configs/_base_/default_runtime.py']
features = dict(visual=dict(type='FolderStore', path='features', dim={dim}))
part = dict(data_root='{folder}/', features=features)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=part)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=part)
test_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(part, ann_file='val.jsonl', split='val'))
width = dict(dim={width})
model = dict(
    language=width, streams=dict(visual=dict(width, in_dim={dim})), pyramid=width,
    decoupler=dict(width, shared_dim={width}), proposal=width, neck=width,
    head=dict(width, profile=width))
train_cfg = dict(max_epochs=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=5))
"""
FOLDS = """
_base_ = ['{base}']
videos = dict(ann_file='all.jsonl', split='train', holdout_fraction=0.4)
train_dataloader = dict(num_workers=0, dataset=dict(
    videos, subset='fit', folds=dict(num=2, test=0, part='train')))
val_dataloader = dict(dataset=dict(
    videos, subset='holdout', folds=dict(num=2, test=0, part='train')))
test_dataloader = dict(dataset=dict(videos, folds=dict(num=2, test=0, part='test')))
"""
WORDS = ['red', 'blue', 'green', 'disc', 'square', 'cross', 'enters', 'leaves', 'spins', 'grows']


def write_tiny_demul(folder: Path, schedule: str = 'muon_20e', width: int = WIDTH) -> str:
    """Write 7 train and 5 val videos with their features, and a config; returns its path."""
    rng = np.random.default_rng(0)
    (folder / 'features').mkdir(parents=True)
    for split, count in (('train', 7), ('val', 5)):
        lines = []
        for index in range(count):
            video_id = f'{split}_{index}'
            duration = float(rng.integers(16, 33))
            features = rng.standard_normal((int(duration), DIM)).astype(np.float32)
            np.save(folder / 'features' / f'{video_id}.npy', features)
            queries = []
            for number in range(3):
                start, length = rng.uniform(0, 0.6) * duration, rng.uniform(0.1, 0.4) * duration
                text = 'the ' + ' '.join(rng.choice(WORDS, rng.integers(2, 16)))
                spans = [[start, start + length]]
                queries.append(dict(query_id=f'{video_id}#{number}', query=text, spans=spans))
            lines.append(json.dumps(dict(video_id=video_id, duration=duration, queries=queries)))
        (folder / f'{split}.jsonl').write_text('\n'.join(lines) + '\n')
    path = folder / f'tiny_{folder.name}.py'
    path.write_text(
        CONFIG.format(root=ROOT, folder=folder, dim=DIM, schedule=schedule, width=width)
    )
    return str(path)


def write_tiny_folds(path: Path, more: str = '') -> Path:
    """Write a config of two folds, and the 12 videos beside it; ``more`` comes behind it."""
    data = path.parent / 'data'
    path.write_text(FOLDS.format(base=write_tiny_demul(data)) + more)
    lines = [(data / f'{split}.jsonl').read_text() for split in ('train', 'val')]
    (data / 'all.jsonl').write_text(''.join(lines))
    return path
