"""A run that was stopped and resumed ends as one that was not.

A real SIGKILL, on the real model, is in ``tests/tools/test_train_test_demul.py``.
"""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.engine.checkpoint import allow_mmengine_checkpoints
from demul_mm.engine.hooks import AtomicCheckpointHook
from demul_mm.models.backbones import TransformersLM
from demul_mm.models.task_modules import TransformersTokenizer
from demul_mm.registry import HOOKS

allow_mmengine_checkpoints()
CONFIG = Path(__file__).parent / 'toy_config.py'


class StoppedError(Exception):
    """Stands for a kill."""


@HOOKS.register_module(force=True)
class StopHook(Hook):
    """Stop in the middle of a training epoch, or of a validation."""

    priority = 'VERY_LOW'

    def __init__(self, epoch: int, where: str) -> None:
        self.epoch, self.where = epoch, where

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object) -> None:
        if self.where == 'train' and runner.epoch == self.epoch and batch_idx == 3:
            raise StoppedError

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: object) -> None:
        if self.where == 'val' and runner.epoch == self.epoch and batch_idx == 1:
            raise StoppedError


def run(work_dir: Path, name: str, stop: dict | None = None, **options: object) -> Runner:
    config = Config.fromfile(CONFIG)
    config.merge_from_dict(options)
    config.work_dir, config.experiment_name = str(work_dir), name
    if stop:
        config.custom_hooks = [*config.custom_hooks, dict(type='StopHook', **stop)]
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def final(work_dir: Path) -> dict:
    """All of the last checkpoint that a run leaves."""
    path = (work_dir / 'last_checkpoint').read_text()
    return torch.load(path, weights_only=True)


def same(a: dict, b: dict) -> None:
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)
    assert a['param_schedulers'] == b['param_schedulers']
    info_a, info_b = (c['message_hub']['runtime_info'] for c in (a, b))
    assert info_a['best_score'] == info_b['best_score']
    assert Path(info_a['best_ckpt']).name == Path(info_b['best_ckpt']).name
    history_a, history_b = (c['message_hub']['log_scalars']['train/loss'] for c in (a, b))
    assert history_a.data[0].tolist() == history_b.data[0].tolist()


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    'stop', [dict(epoch=2, where='train'), dict(epoch=3, where='val')], ids=lambda s: s['where']
)
def test_resumed_run_ends_as_an_uninterrupted_one(tmp_path: Path, workers: int, stop: dict) -> None:
    options = {'train_dataloader.num_workers': workers}
    tag = f'{stop["where"]}{workers}'
    run(tmp_path / 'whole', f'whole-{tag}', **options)
    with pytest.raises(StoppedError):
        run(tmp_path / 'parts', f'part1-{tag}', stop, **options)
    assert final(tmp_path / 'parts')['meta']['epoch'] < 4
    run(tmp_path / 'parts', f'part2-{tag}', resume=True, **options)
    same(final(tmp_path / 'whole'), final(tmp_path / 'parts'))
    files = [sorted(p.name for p in (tmp_path / d).glob('*.pth*')) for d in ('whole', 'parts')]
    assert files[0] == files[1]


@HOOKS.register_module(force=True)
class FitHook(Hook):
    """Stands for what is fitted on the held-out videos before each validation."""

    def before_val_epoch(self, runner: Runner) -> None:
        with torch.no_grad():
            runner.model.net[0].bias.mul_(0.9)


def test_what_a_validation_fits_is_fitted_after_a_stop_though_none_is_the_best(
    tmp_path: Path,
) -> None:
    options = {
        'default_hooks.checkpoint.save_best': None,
        'custom_hooks': [dict(type='EpochSeedHook'), dict(type='FitHook')],
    }
    run(tmp_path / 'whole', 'fit-whole', **options)
    with pytest.raises(StoppedError):
        run(tmp_path / 'parts', 'fit-part', dict(epoch=2, where='train'), **options)
    run(tmp_path / 'parts', 'fit-rest', resume=True, **options)
    whole, parts = (final(tmp_path / name)['state_dict'] for name in ('whole', 'parts'))
    torch.testing.assert_close(whole, parts, rtol=0, atol=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob('*.pth')}


def test_a_copied_work_dir_is_a_run_of_its_own(tmp_path: Path) -> None:
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    half = {'train_cfg.max_epochs': 2}
    run(original, 'original', **half)
    before = contents(original)
    assert any(name.startswith('best_') for name in before)
    shutil.copytree(original, copy)
    # The copy's own weights are others by now: those it goes on from.
    latest = torch.load(copy / 'epoch_2.pth', weights_only=True)
    latest['meta']['epoch'] = 1
    latest['message_hub']['runtime_info']['best_score'] = -1e9
    torch.save(latest, copy / 'epoch_2.pth')
    runner = run(copy, 'copy', resume=True, **half)
    assert contents(original) == before
    assert Path(runner._load_from).parent == copy
    (best,) = copy.glob('best_*.pth')
    assert Path(runner.message_hub.get_info('best_ckpt')) == best
    assert Path((copy / 'last_checkpoint').read_text()).parent == copy


def test_checkpoints_of_another_folder_are_named_and_left_alone(tmp_path: Path) -> None:
    original, other = tmp_path / 'original', tmp_path / 'other'
    run(original, 'kept', **{'train_cfg.max_epochs': 2})
    before = contents(original)
    other.mkdir()
    shutil.copy(original / 'last_checkpoint', other)
    with pytest.raises(FileNotFoundError, match=r'names .*original.*epoch_2\.pth, and there is no'):
        run(other, 'other', resume=True)
    runner = run(other, 'given', resume=True, load_from=str(original / 'epoch_2.pth'))
    assert contents(original) == before
    known = runner.message_hub.get_info('best_ckpt')
    assert known is None or Path(known).parent == other


def test_a_best_by_another_metric_is_no_mark_for_this_one(tmp_path: Path) -> None:
    run(tmp_path, 'by-score', **{'train_cfg.max_epochs': 2})
    (by_score,) = tmp_path.glob('best_*')
    choice = {
        'default_hooks.checkpoint.save_best': 'error',
        'default_hooks.checkpoint.rule': 'less',
    }
    for epochs in (3, 4):
        options = {**choice, 'train_cfg.max_epochs': epochs}
        info = run(tmp_path, f'by-error-{epochs}', resume=True, **options).message_hub.runtime_info
        (best,) = tmp_path.glob('best_error_*')
        assert info['best_score'] > 0
        assert info['best_ckpt'] == str(best)
    assert by_score.is_file()
    assert (
        logged(tmp_path).count('chosen by score (greater), from now on it is by error (less)') == 1
    )


# Nothing is ever as much better as this wants it.
PLATEAU = dict(
    type='ReduceOnPlateauLR',
    monitor='error',
    rule='greater',
    threshold=100.0,
    patience=0,
    factor=0.5,
)


def rates(runner: Runner) -> list[float]:
    return runner.message_hub.get_scalar('train/lr').data[0].tolist()


@pytest.mark.parametrize('kind', ['iterations', 'epochs'])
def test_a_run_resumed_with_more_epochs_follows_the_longer_schedule(
    tmp_path: Path, kind: str
) -> None:
    by_epoch = dict(type='CosineAnnealingLR', by_epoch=True)
    options = dict(param_scheduler=[by_epoch]) if kind == 'epochs' else {}
    half = {'train_cfg.max_epochs': 2, **options}
    whole = run(tmp_path / 'whole', f'whole-{kind}', **options)
    run(tmp_path / 'parts', f'half-{kind}', **half)
    parts = run(tmp_path / 'parts', f'rest-{kind}', resume=True, **options)
    steps = len(whole.train_dataloader)
    assert rates(parts)[2 * steps :] == pytest.approx(rates(whole)[2 * steps :], rel=1e-9)
    assert rates(parts)[2 * steps] > 1e-3  # and not the 0 at which two epochs end
    planned = [scheduler.state_dict() for scheduler in whole.param_schedulers]
    for one, other in zip(parts.param_schedulers, planned):
        assert one.state_dict()['_global_step'] == other['_global_step']


@pytest.mark.parametrize(
    'schedule',
    [
        dict(type='OneCycleLR', eta_max=0.05, total_steps=4, convert_to_iter_based=True),
        dict(type='OneCycleLR', eta_max=0.05, total_steps=24, by_epoch=False, three_phase=True),
        dict(type='CosineRestartLR', periods=[1, 3], restart_weights=[1, 0.5], eta_min=0.0),
        PLATEAU,
    ],
    ids=lambda schedule: schedule['type'],
)
def test_any_schedule_goes_on_where_it_was(tmp_path: Path, schedule: dict) -> None:
    options, tag = dict(param_scheduler=[schedule]), schedule['type'] + str(len(schedule))
    whole = run(tmp_path / 'whole', f'whole-{tag}', **options)
    with pytest.raises(StoppedError):
        run(tmp_path / 'parts', f'part1-{tag}', dict(epoch=3, where='train'), **options)
    parts = run(tmp_path / 'parts', f'part2-{tag}', resume=True, **options)
    same(final(tmp_path / 'whole'), final(tmp_path / 'parts'))
    assert rates(parts) == rates(whole)
    assert len(set(rates(whole))) > 2
    assert 'the schedule of the config' not in logged(tmp_path / 'parts')


@pytest.mark.parametrize('judged_by', ['error', 'score'])
def test_a_rate_that_validations_have_lowered_stays_low(tmp_path: Path, judged_by: str) -> None:
    """Its plan alone does not tell where it is; the best error is no mark for the scores."""
    warmup = dict(type='LinearLR', start_factor=0.5, end=2)
    stop = dict(epoch=3, where='train')
    with pytest.raises(StoppedError):
        run(tmp_path, f'part1-{judged_by}', stop, param_scheduler=[warmup, PLATEAU])
    changed = dict(PLATEAU, factor=0.1, monitor=judged_by)
    options = {'train_cfg.max_epochs': 5, 'param_scheduler': [warmup, changed]}
    parts = run(tmp_path, f'part2-{judged_by}', resume=True, **options)
    steps = len(parts.train_dataloader)
    fourth, fifth = rates(parts)[3 * steps], rates(parts)[4 * steps]
    assert fourth < 0.02  # the configs'
    assert fifth == pytest.approx(fourth * (0.1 if judged_by == 'error' else 1))
    assert 'factor 0.5 -> 0.1' in logged(tmp_path)


def logged(work_dir: Path) -> str:
    return ''.join(path.read_text() for path in work_dir.rglob('*.log'))


def test_a_resumed_run_has_the_optimizer_of_its_config(tmp_path: Path) -> None:
    half = {'train_cfg.max_epochs': 2}
    wanted = dict(weight_decay=0.5, momentum=0.5, betas=(0.5, 0.6))
    options = {f'optim_wrapper.optimizer.{name}': value for name, value in wanted.items()}
    run(tmp_path / 'planned', 'planned', **half)
    runner = run(tmp_path / 'planned', 'planned-other', resume=True, **options)
    group = runner.optim_wrapper.param_groups[0]
    assert {name: group[name] for name in wanted} == wanted
    text = logged(tmp_path / 'planned')
    assert '(betas (0.9, 0.999) -> (0.5, 0.6), momentum 0.95 -> 0.5, weight_decay' in text

    constant = dict(param_scheduler=None)
    run(tmp_path / 'constant', 'constant', **constant, **half)
    options = {**constant, 'optim_wrapper.optimizer.lr': 0.5}
    for epochs in (3, 4):  # the second goes on as it was
        options['train_cfg.max_epochs'] = epochs
        runner = run(tmp_path / 'constant', f'constant-{epochs}', resume=True, **options)
        assert runner.optim_wrapper.param_groups[0]['lr'] == 0.5
        assert logged(tmp_path / 'constant').count('of the checkpoint (lr 0.02 -> 0.5)') == 1


def test_a_momentum_that_a_schedule_sets_stays(tmp_path: Path) -> None:
    """Of Adam, too, where it is the first of the betas."""
    options = {
        'optim_wrapper': dict(
            _delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)
        ),
        'param_scheduler': [dict(type='LinearMomentum', start_factor=0.5, end=8)],
    }
    whole = run(tmp_path / 'whole', 'betas-whole', **options)
    with pytest.raises(StoppedError):
        run(tmp_path / 'parts', 'betas-part', dict(epoch=3, where='train'), **options)
    parts = run(tmp_path / 'parts', 'betas-rest', resume=True, **options)
    for one, other in zip(whole.optim_wrapper.param_groups, parts.optim_wrapper.param_groups):
        assert one['betas'] == other['betas'] != (0.9, 0.999)
    assert 'the optimizer of the config' not in logged(tmp_path / 'parts')

    options['optim_wrapper']['optimizer']['betas'] = (0.9, 0.5)
    options['train_cfg.max_epochs'] = 5
    more = run(tmp_path / 'parts', 'betas-more', resume=True, **options)
    first, second = more.optim_wrapper.param_groups[0]['betas']
    assert second == 0.5
    assert other['betas'][0] < first < 0.9


def test_epochs_draw_different_numbers_and_seeds_do_too(tmp_path: Path) -> None:
    losses = {}
    for seed in (0, 1):
        options = {'randomness.seed': seed, 'optim_wrapper.optimizer.lr': 0.0}
        runner = run(tmp_path / str(seed), f'seed-{seed}', **options)
        losses[seed] = runner.message_hub.get_scalar('train/loss').data[0].tolist()
    # With a learning rate of 0 only the random numbers differ between epochs.
    assert losses[0][:6] != losses[0][6:12]
    assert losses[0] != losses[1]


def test_the_outdated_checkpoint_goes_after_the_new_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(runner: Runner, out_dir: str, filename: str, *args: object, **kw: object) -> None:
        if filename == 'epoch_3.pth':
            raise OSError(28, 'No space left on device')
        save(runner, out_dir, filename, *args, **kw)

    save = Runner.save_checkpoint
    monkeypatch.setattr(Runner, 'save_checkpoint', full_disk)
    with pytest.raises(OSError, match='No space left'):
        run(tmp_path, 'full', **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert final(tmp_path)['meta']['epoch'] == 2
    monkeypatch.undo()
    run(tmp_path, 'full-2', resume=True, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert [p.name for p in tmp_path.glob('epoch_*')] == ['epoch_4.pth']
    assert isinstance(HOOKS.build(dict(type='AtomicCheckpointHook')), AtomicCheckpointHook)


def test_a_sentence_is_encoded_alike_whatever_is_beside_it() -> None:
    """A resumed run has cached other sentences; the last bit of a feature would tell."""
    words = ['the', 'disc', 'leaves', 'before', 'a', 'blue', 'square', 'spins', 'twice', 'slowly']
    sentences = [' '.join((words * 3)[i : i + 2 + i % 19]) for i in range(21)]
    ids, mask = TransformersTokenizer('minilm')(sentences)
    together = TransformersLM('minilm')(ids, mask)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    lm = TransformersLM('minilm')
    apart = torch.empty_like(together)
    for part in order.split(5):
        apart[part] = lm(ids[part], mask[part])
    assert torch.equal(apart, together)
