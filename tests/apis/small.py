"""A small trained model on the disk with the features of a few videos."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tests.models.tiny import (
    FEATURES,
    SENTENCES,
    tiny_config,
    tiny_data,
    tiny_model,
    train_steps,
)

CONFIG = """
custom_imports = dict(imports=['tests.models.tiny'])
model = {model!r}
test_dataloader = dict(dataset=dict(
    type='JsonlMomentDataset', data_root={root!r}, ann_file='corpus.jsonl', split='corpus',
    features=dict(visual=dict(type='FolderStore', path='features', dim={dim}{clip_seconds})),
    pipeline=[
        dict(type='LoadVideoFeature'),
        dict(type='ResampleClips', num_clips=32),
        dict(type='PackMomentInputs')],
    test_mode=True))
"""
# Rows of features, two seconds each; the fourth is resampled to 32.
LENGTHS = (13, 8, 20, 40, 3, 17, 24)


class SmallCorpus(NamedTuple):
    """Files, and what is in them."""

    config: str
    checkpoint: str
    features: dict[str, np.ndarray]
    durations: dict[str, float]

    @property
    def root(self) -> Path:
        return Path(self.config).parent


def make_small_corpus(root: Path, clip_seconds: float | None = None) -> SmallCorpus:
    """Write it into a folder."""
    (root / 'features').mkdir(parents=True)
    rng = np.random.default_rng(0)
    features, durations, lines = {}, {}, []
    for v, length in enumerate(LENGTHS):
        video_id = f'v{v}'
        features[video_id] = rng.standard_normal((length, FEATURES)).astype(np.float32)
        durations[video_id] = 2.0 * length
        np.save(root / 'features' / f'{video_id}.npy', features[video_id])
        queries = [dict(query=SENTENCES[v % len(SENTENCES)], spans=[])]
        meta = dict(tags=['odd' if v % 2 else 'even'], number=v)
        lines.append(dict(video_id=video_id, duration=2.0 * length, queries=queries, meta=meta))
    (root / 'corpus.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    model = tiny_model()
    train_steps(model, tiny_data(), 10)
    model.calibrator.scale.fill_(0.5)
    model.calibrator.bias.fill_(1.0)
    torch.save(dict(state_dict=model.state_dict()), root / 'weights.pth')
    seconds = '' if clip_seconds is None else f', clip_seconds={clip_seconds}'
    text = CONFIG.format(model=tiny_config(), root=str(root), dim=FEATURES, clip_seconds=seconds)
    (root / 'small_config.py').write_text(text)
    return SmallCorpus(
        str(root / 'small_config.py'), str(root / 'weights.pth'), features, durations
    )
