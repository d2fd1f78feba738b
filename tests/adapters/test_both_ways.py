"""DeMUL with a part of MMAction2, and in a config of MMAction2's own scope."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from demul_mm.models.task_modules import MomentNMS
from demul_mm.registry import MODELS, TASK_UTILS
from demul_mm.rendered import render_corpus
from tests.tools.running import ROOT

CONFIGS = {
    'demul_mm': 'configs/demul_rendered_slowonly.py',
    'mmaction': 'projects/mmaction_scope/configs/demul_slowonly_rendered.py',
}


@pytest.fixture(scope='module')
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('rendered')
    seconds = dict(min_seconds=20, max_seconds=22)
    render_corpus(folder, train=2, val=2, test=2, seed=0, workers=1, **seconds)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('scope', list(CONFIGS))
def test_trains_and_tests(scope: str, corpus: Path, tmp_path: Path) -> None:
    config = Config.fromfile(ROOT / CONFIGS[scope])
    assert config.default_scope == scope
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        loader.batch_size, loader.num_workers = 2, 0
        loader.dataset.data_root = str(corpus)
    config.train_cfg.max_epochs = 2
    config.work_dir, config.experiment_name = str(tmp_path), f'both-ways-{scope}'
    runner = Runner.from_cfg(config)
    backbone = runner.model.frame_encoder.backbone
    assert type(backbone).__module__ == 'mmaction.models.backbones.resnet3d_slowonly'
    before = backbone.conv1.conv.weight.detach().clone()
    runner.train()
    # The loss reaches the pixels.
    assert not torch.equal(backbone.conv1.conv.weight, before)
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2
    metrics = runner.test()
    assert 0 <= metrics['R@1,IoU=0.5'] <= 100
    assert 0 < metrics['mIoU'] <= 100
    lines = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).open()]
    assert any('mIoU' in line for line in lines)


@pytest.mark.parametrize('scope', ['mmaction', 'mmengine', 'demul_mm'])
def test_our_registries_build_in_our_scope(scope: str) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        assert isinstance(TASK_UTILS.build(dict(type='MomentNMS')), MomentNMS)
        assert isinstance(ROOT_TASK_UTILS.build(dict(type='demul_mm.MomentNMS')), MomentNMS)
        # _scope_ reaches the parts that a class of another package builds for itself.
        head = dict(type='TSNHead', num_classes=2, in_channels=4, _scope_='mmaction')
        assert type(MODELS.build(head)).__module__ == 'mmaction.models.heads.tsn_head'
        assert DefaultScope.get_current_instance().scope_name == scope
