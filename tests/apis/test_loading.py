"""Loading a model, and what its fingerprint depends on."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from demul_mm.apis import load_model, model_fingerprint
from demul_mm.apis.extractor import make_backbone
from demul_mm.apis.loading import load_localizer, recipe_fingerprint
from demul_mm.registry import MODELS
from tests.apis.small import SmallCorpus
from tests.models.tiny import TOKENS, tiny_config, tiny_model


def test_weights_are_those_of_the_checkpoint(corpus: SmallCorpus) -> None:
    model, _, fingerprint = load_model(corpus.config, corpus.checkpoint, 'cpu')
    weights = torch.load(corpus.checkpoint, weights_only=True)['state_dict']
    torch.testing.assert_close(dict(model.state_dict()), dict(weights), rtol=0, atol=0)
    assert not model.training
    assert fingerprint == load_model(corpus.config, corpus.checkpoint, 'cpu').fingerprint


def test_checkpoint_of_another_model_is_refused(corpus: SmallCorpus, tmp_path: Path) -> None:
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict=tiny_model(neck=None).state_dict()), other)
    with pytest.raises(ValueError, match='does not fit the config'):
        load_model(corpus.config, other, 'cpu')
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        load_model(corpus.config, tmp_path / 'absent.pth', 'cpu')
    with pytest.raises(FileNotFoundError, match='no config file'):
        load_model(tmp_path / 'absent.py', corpus.checkpoint, 'cpu')


def test_a_device_that_is_not_there_is_named(corpus: SmallCorpus) -> None:
    for make in (
        lambda: load_model(corpus.config, corpus.checkpoint, 'foo'),
        lambda: make_backbone(dict(type='TemporalTower', in_dim=4), {}, None, None, 'foo'),
    ):
        with pytest.raises(ValueError, match='there is no device foo; allowed: cpu'):
            make()


def test_a_part_of_a_model_is_no_localizer() -> None:
    with pytest.raises(TypeError, match='builds a TemporalTower, which finds no moments'):
        load_localizer(Config(dict(model=dict(type='TemporalTower', in_dim=4))), None)


def test_fingerprint_depends_on_the_encoders_alone() -> None:
    """Calibrating, or another fusion, leaves an index valid; other encoders do not."""
    model, config = tiny_model(), tiny_config()
    first = model_fingerprint(model, config)
    model.calibrator.bias.fill_(3.0)
    model.head.scale.data.add_(1.0)
    assert model_fingerprint(model, {**config, 'test_cfg': dict(nms=dict(type='SoftNMS'))}) == first
    model.towers['visual'].project.weight.data[0, 0] += 1e-6
    assert model_fingerprint(model, config) != first
    changed = {**config, 'pyramid': {**config['pyramid'], 'radius': 2}}
    assert model_fingerprint(tiny_model(), changed) != first
    assert model_fingerprint(tiny_model(), config) == first


def test_fingerprint_depends_on_the_aligned_spaces() -> None:
    """Their share and means are in the vectors of an index."""
    space = dict(type='AlignedStream', stream='visual', in_dim=TOKENS)
    config = {**tiny_config(), 'aligned': [space]}
    model = MODELS.build(config)
    first = model_fingerprint(model, config)
    assert model_fingerprint(model, {**config, 'aligned': [{**space, 'share': 0.3}]}) != first
    model.aligned[0].clip_mean += 1
    assert model_fingerprint(model, config) != first


def test_recipe_depends_on_what_features_are_not_on_where_they_lie() -> None:
    pipeline = [dict(type='LoadVideoFeature'), dict(type='ResampleClips', num_clips=8)]
    store = dict(type='FolderStore', path='a', dim=4)
    first = recipe_fingerprint(Config(dict(features=dict(visual=store), pipeline=pipeline)))
    assert first == 'a8999eb983a3c521'  # indexes that exist say so
    packed = dict(type='PackedStore', path='b', dim=4)
    assert recipe_fingerprint(dict(features=dict(visual=packed), pipeline=pipeline)) == first
    wider = dict(type='PackedStore', path='b', dim=8)
    assert recipe_fingerprint(dict(features=dict(visual=wider), pipeline=pipeline)) != first
    assert recipe_fingerprint(dict(features=dict(visual=store), pipeline=pipeline[:1])) != first
