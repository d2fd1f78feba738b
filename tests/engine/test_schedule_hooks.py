"""Two stages of training, and batches of videos that are taken for each other."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.datasets.samplers import HardVideoSampler
from demul_mm.engine.hooks.hard_video_mining import mine_rivals
from demul_mm.registry import HOOKS
from tests.engine.tiny import WIDTH, write_tiny_demul


@HOOKS.register_module(force=True)
class Watch(Hook):
    """Notes at each step whether fusion ran and learned, and the rivals of each epoch."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.rivals: list[dict] = []
        self.fused: list[bool] = []
        self.moved: list[bool] = []

    def _neck(self, runner: Runner) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in runner.model.neck.parameters()])

    def before_train_epoch(self, runner: Runner) -> None:
        self.before = self._neck(runner)
        self.rivals.append(dict(getattr(runner.train_dataloader.sampler, 'rivals', {})))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.fused.append(runner.model.fusing)

    def after_train_epoch(self, runner: Runner) -> None:
        moved = (self._neck(runner) - self.before).abs().max()
        self.moved.append(bool(moved > 1e-3))


def train(folder: Path, name: str, hooks: list[dict], **options: object) -> tuple[Runner, Watch]:
    config = Config.fromfile(folder / 'data' / 'tiny_data.py')
    config.merge_from_dict({'train_dataloader.num_workers': 0, **options})
    config.custom_hooks = [*config.custom_hooks, *hooks, dict(type='Watch')]
    config.work_dir, config.experiment_name = str(folder / name), name
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.test_cfg = config.test_dataloader = config.test_evaluator = None
    runner = Runner.from_cfg(config)
    runner.train()
    (watch,) = (hook for hook in runner.hooks if isinstance(hook, Watch))
    return runner, watch


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('schedule')
    write_tiny_demul(folder / 'data')
    return folder


def test_the_neck_learns_in_the_second_stage_alone(folder: Path) -> None:
    runner, watch = train(folder, 'stages', [dict(type='TwoStageHook', share=0.67)])
    assert runner.max_epochs == 3
    # Weight decay alone moves it in the first two epochs.
    assert watch.moved == [False, False, True]
    assert watch.fused == [False] * 8 + [True] * 4
    assert runner.model.fusing


def test_two_stages_need_a_neck(folder: Path) -> None:
    with pytest.raises(TypeError, match='take it out of custom_hooks'):
        train(folder, 'none', [dict(type='TwoStageHook')], **{'model.neck': None})
    with pytest.raises(ValueError, match='share is 1'):
        HOOKS.build(dict(type='TwoStageHook', share=1))


SAMPLER = {'train_dataloader.sampler': dict(type='HardVideoSampler', shuffle=True, group=2)}


def test_rivals_are_mined_from_the_given_epoch_on(folder: Path, monkeypatch) -> None:
    mined = []

    def spy(videos, *options):
        mined.append(videos)
        return mine_rivals(videos, *options)

    monkeypatch.setattr('demul_mm.engine.hooks.hard_video_mining.mine_rivals', spy)
    hooks = [dict(type='HardVideoMiningHook', begin=1, num_rivals=3, num_prototypes=2, too_alike=2)]
    runner, watch = train(folder, 'mining', hooks, **SAMPLER)
    assert isinstance(runner.train_dataloader.sampler, HardVideoSampler)
    assert watch.rivals[0] == {}
    for rivals in watch.rivals[1:]:
        assert rivals.keys() == set(range(7))
        assert all(len(set(r) - {v}) == 3 for v, r in rivals.items())
    assert len(mined) == 2
    assert runner.model.training
    for video in mined[0]:
        assert video.prototypes.shape == (2, WIDTH)
        assert video.queries.shape == (3, WIDTH)


@HOOKS.register_module(force=True)
class StopBeforeLast(Hook):
    """Stands for a kill between two epochs."""

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_mines_what_the_whole_one_mined(folder: Path) -> None:
    hooks = [dict(type='HardVideoMiningHook', begin=1, num_rivals=3, too_alike=2)]
    _, whole = train(folder, 'mining_whole', hooks, **SAMPLER)
    with pytest.raises(KeyboardInterrupt):
        train(folder, 'mining_parts', [*hooks, dict(type='StopBeforeLast')], **SAMPLER)
    _, rest = train(folder, 'mining_parts', hooks, **SAMPLER, resume=True)
    assert rest.rivals == [whole.rivals[2]]
    assert whole.rivals[1] != whole.rivals[2]


def test_mining_needs_its_sampler(folder: Path) -> None:
    with pytest.raises(TypeError, match="sampler=dict\\(type='HardVideoSampler'\\)"):
        train(folder, 'plain', [dict(type='HardVideoMiningHook')])


@pytest.mark.parametrize('kind', ['TwoStageHook', 'HardVideoMiningHook'])
def test_a_training_that_counts_steps_has_no_epochs_to_go_by(folder: Path, kind: str) -> None:
    steps = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2)
    options = dict(train_cfg=steps, param_scheduler=None, **SAMPLER)
    with pytest.raises(ValueError, match=f'{kind} goes by epochs'):
        train(folder, f'steps-{kind}', [dict(type=kind)], **options)
