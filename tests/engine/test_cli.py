"""Options that do not exist are refused, and users' mistakes are one line."""

import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from demul_mm.engine import cli
from demul_mm.engine.cli import check_options, launch, load_config, run_tool
from demul_mm.registry import MODELS

CONFIG = Config(
    dict(
        model=dict(type='A', head=dict(width=4), list=[dict(loss_weight=1.0), dict(alpha=2)]),
        train_dataloader=dict(batch_size=2, num_workers=0),
        lr=None,
    )
)


@pytest.mark.parametrize(
    'key', ['lr', 'model.head.width', 'model.list.1.alpha', 'model.list.0', 'model']
)
def test_existing_paths_pass(key: str) -> None:
    check_options(CONFIG, {key: 1})


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('train_dataloader.batchsize', 'Did you mean train_dataloader.batch_size?'),
        ('trian_dataloader.batch_size', 'Did you mean train_dataloader?'),
        ('num_workers', 'Did you mean train_dataloader.num_workers?'),
        ('model.list.2.alpha', 'Allowed are: 0, 1'),
        ('lr.x', 'Allowed are: none, it is a plain value'),
        ('model.head.qqq', 'Allowed are: width'),
    ],
)
def test_misspelt_paths_name_the_nearest(key: str, hint: str) -> None:
    with pytest.raises(ValueError, match='there is no') as error:
        check_options(CONFIG, {'lr': 1, key: 1})
    assert hint in str(error.value)
    assert key in str(error.value)


def test_load_config(tmp_path: Path) -> None:
    path = tmp_path / 'demul_x.py'
    path.write_text('a = dict(b=[1, dict(c=2)])')
    config = load_config(str(path), {'a.b.1.c': 5})
    assert config.a.b[1].c == 5
    assert config.work_dir == 'work_dirs/demul_x'
    assert load_config(str(path), work_dir='w').work_dir == 'w'
    with pytest.raises(FileNotFoundError, match=r'demul_xx.py; in that folder are demul_x.py'):
        load_config(str(tmp_path / 'demul_xx.py'))


def exit_code(main: object, capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        run_tool(main, arguments)
    return stop.value.code, capsys.readouterr().err


def test_a_users_mistake_is_one_line(capsys: pytest.CaptureFixture) -> None:
    def missing_file() -> None:
        load_config('no/such/config.py')

    def unknown_key() -> None:
        check_options(CONFIG, {'lrr': 1})

    def unknown_type() -> None:
        MODELS.build(dict(type='demul_mm.NoSuchModel'))

    for main, expected in (
        (missing_file, 'error: there is no config file no/such/config.py'),
        (unknown_key, "error: --cfg-options: there is no 'lrr' in the config"),
        (unknown_type, 'error: demul_mm.NoSuchModel is not in the demul_mm::model registry'),
    ):
        code, text = exit_code(main, capsys)
        assert code == 2
        assert text.startswith(expected)
        assert 'Traceback' not in text
        with pytest.raises((ValueError, OSError, KeyError)):
            run_tool(main, ['--debug'])


def test_a_bug_keeps_its_traceback() -> None:
    def bug() -> None:
        torch.zeros(2).view(3)

    def other_bug() -> None:
        torch.ones(2).to('no such device')

    for main in (bug, other_bug, lambda: CONFIG['x']):
        with pytest.raises((RuntimeError, KeyError)):
            run_tool(main, [])


def test_a_mistake_found_by_a_worker_is_one_line(capsys: pytest.CaptureFixture) -> None:
    loader = torch.utils.data.DataLoader([0], num_workers=1, collate_fn=failing_collate)
    code, text = exit_code(lambda: list(loader), capsys)
    assert code == 2
    assert text.startswith("error: --cfg-options: there is no 'lrr' in the config (given: lrr)")
    assert text.count('\n') == 2


def failing_collate(batch: list) -> None:
    check_options(CONFIG, {'lrr': 1})


def test_launch_without_gpu_needs_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.setattr(cli.torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='needs torchrun'):
        launch(Config({}), 'pytorch')


def test_slurm_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(PROCID='3', NTASKS='4', LOCALID='1', NODELIST='n[1-2]').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    monkeypatch.setattr(subprocess, 'check_output', lambda *args, **kwargs: 'n1\nn2\n')
    made: list[str] = []
    monkeypatch.setattr(cli.distributed, 'init_process_group', made.append)
    monkeypatch.setattr(cli.torch.cuda, 'is_available', lambda: False)
    config = Config(dict(find_unused_parameters=True))
    launch(config, 'slurm')
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    assert [cli.os.environ[name] for name in names] == ['3', '4', '1', 'n1', '29500']
    assert made == ['gloo']
    assert config.model_wrapper_cfg == dict(
        type='mmengine.MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=True,
    )


def test_an_option_may_name_an_argument_that_the_config_leaves_at_its_default():
    config = {'train_dataloader': {'dataset': {'type': 'JsonlMomentDataset', 'ann_file': 'a'}}}
    check_options(config, {'train_dataloader.dataset.max_videos': 5})
    with pytest.raises(ValueError, match='max_vidoes'):
        check_options(config, {'train_dataloader.dataset.max_vidoes': 5})
