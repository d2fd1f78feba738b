"""Videos given to an inferencer whose model has a stream that a video may lack."""

from pathlib import Path

import numpy as np
import pytest
import torch

from demul_mm.apis import MomentInferencer
from tests.models.tiny import FEATURES, SENTENCES, tiny_config, tiny_model

STREAMS = ('visual', 'subtitle')
CONFIG = """
custom_imports = dict(imports=['tests.models.tiny'])
model = {model!r}
test_dataloader = dict(dataset=dict(
    type='JsonlMomentDataset', data_root={root!r}, ann_file='none.jsonl', split='corpus',
    features=dict(
        visual=dict(type='FolderStore', path='visual', dim={dim}, clip_seconds=2.0),
        subtitle=dict(type='FolderStore', path='subtitle', dim={dim} + 1, clip_seconds=1.0)),
    pipeline=[
        dict(type='LoadVideoFeature'),
        dict(type='LoadVideoFeature', stream='subtitle', optional=True),
        dict(type='ResampleClips', num_clips=32, streams=('visual', 'subtitle')),
        dict(type='PackMomentInputs')],
    test_mode=True))
"""


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('streams')
    rng = np.random.default_rng(0)
    for name, videos in {'visual': 'ab', 'subtitle': 'b'}.items():
        (root / name).mkdir()
        for video in videos:
            rows = rng.standard_normal((12, FEATURES + (name == 'subtitle')))
            np.save(root / name / f'{video}.npy', rows.astype(np.float32))
    torch.save(dict(state_dict=tiny_model(STREAMS).state_dict()), root / 'weights.pth')
    text = CONFIG.format(model=tiny_config(STREAMS), root=str(root), dim=FEATURES)
    (root / 'config.py').write_text(text)
    return root


def test_however_they_are_given(root: Path) -> None:
    find = MomentInferencer(str(root / 'config.py'), str(root / 'weights.pth'))
    pairs = [('visual', 'a'), ('visual', 'b'), ('subtitle', 'b')]
    rows = {(stream, v): np.load(root / stream / f'{v}.npy') for stream, v in pairs}
    given = ['a', 'b', rows['visual', 'a'], {'visual': rows['visual', 'a']}]
    given.append({'visual': rows['visual', 'b'], 'subtitle': rows['subtitle', 'b']})
    found = find(videos=given, queries=[SENTENCES[0]])
    scores = [result['probabilities'] for result in found]
    spans = [result['spans'] for result in found]
    assert len(found) == 5
    for one, two in [(0, 2), (0, 3), (1, 4)]:
        np.testing.assert_allclose(scores[one], scores[two], rtol=1e-4)
        np.testing.assert_allclose(spans[one], spans[two], atol=1e-3)
    assert scores[0][0] != scores[1][0]
    silent = find(videos=[rows['visual', 'b']], queries=[SENTENCES[0]])
    assert abs(silent[0]['probabilities'][0] - scores[1][0]) > 1e-3  # the words were heard
