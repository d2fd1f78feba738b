"""Losses wait until they are read, and the message hub then has those of every step."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.registry import HOOKS
from tests.engine import toy  # noqa: F401  registers the toy model

CONFIG = Path(__file__).with_name('toy_config.py')
STEPS = 6  # an epoch


@HOOKS.register_module(force=True)
class Counted(Hook):
    """How many losses the hub knows after each step."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.known: list[int] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        scalars = runner.message_hub.log_scalars
        self.known.append(len(scalars['train/loss'].data[0]) if 'train/loss' in scalars else 0)


def train(folder: Path, hook: str, **options: object) -> tuple[Runner, list[int]]:
    config = Config.fromfile(CONFIG)
    config.work_dir, config.experiment_name = str(folder / hook), f'{folder.name}_{hook}'
    config.merge_from_dict(
        {
            'default_hooks.runtime_info.type': hook,
            'default_hooks.logger.interval': 4,
            'optim_wrapper.type': 'AutocastOptimWrapper',
            'optim_wrapper.clip_grad': dict(max_norm=0.1),
            'train_dataloader.batch_size': 24 // STEPS,
            'train_cfg.max_epochs': 2,
            **options,
        }
    )
    config.custom_hooks = [*config.get('custom_hooks', []), dict(type='Counted')]
    runner = Runner.from_cfg(config)
    runner.train()
    (counted,) = (h for h in runner.hooks if isinstance(h, Counted))
    return runner, counted.known


def test_the_hub_knows_in_the_end_what_it_would_have_known(tmp_path: Path) -> None:
    runner, known = train(tmp_path, 'DeferredInfoHook')
    assert known == [0, 0, 0, 4, 4, 6, 6, 6, 6, 10, 10, 12]
    plain, at_once = train(tmp_path, 'RuntimeInfoHook')
    assert at_once == list(range(1, 13))
    found, expected = (
        {k: v.data[0].tolist() for k, v in r.message_hub.log_scalars.items() if 'time' not in k}
        for r in (runner, plain)
    )
    norms = found.pop('train/grad_norm')
    assert len(norms) == 2 * STEPS
    assert all(norm > 0.1 for norm in norms)  # before they were clipped
    assert found == expected


def test_a_checkpoint_between_two_logs_has_the_losses_so_far(tmp_path: Path) -> None:
    options = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 3}
    _, known = train(tmp_path, 'DeferredInfoHook', **options)
    assert known == [0, 0, 3, 4, 4, 6, 6, 6, 9, 10, 10, 12]


def test_gradients_of_several_steps_have_one_norm(tmp_path: Path) -> None:
    runner, _ = train(tmp_path, 'DeferredInfoHook', **{'optim_wrapper.accumulative_counts': 2})
    assert len(runner.message_hub.log_scalars['train/grad_norm'].data[0]) == STEPS


@HOOKS.register_module(force=True)
class Spoiled(Hook):
    """Weights that are no numbers from one iteration on, as after a gradient that was none."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == STEPS + 2:
            next(runner.model.parameters()).data.fill_(float('nan'))


def test_a_training_that_diverges_ends_and_saves_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=rf'loss nan.* in iteration {STEPS + 3}\. .*lr'):
        train(tmp_path, 'DeferredInfoHook', custom_hooks=[dict(type='Spoiled')])
    (saved,) = tmp_path.rglob('epoch_*.pth')
    assert saved.name == 'epoch_1.pth'
