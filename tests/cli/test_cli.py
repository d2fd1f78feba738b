"""Configs are read, processes launched, and users' mistakes are one line."""

import io
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from demul_mm.cli import load_config, run_tool
from demul_mm.cli.launch import launch
from demul_mm.cli.options import check_options
from demul_mm.engine.hooks import DeferredInfoHook
from demul_mm.registry import MODELS

CONFIG = Config(dict(model=dict(type='A', lr=None)))


def test_load_config(tmp_path: Path) -> None:
    path = tmp_path / 'demul_x.py'
    path.write_text('model = dict(b=[1, dict(c=2)])')
    config = load_config(str(path), {'model.b.1.c': 5})
    assert config.model.b[1].c == 5
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

    def diverged() -> None:
        hook = DeferredInfoHook()
        hook._kept = [(7, ['loss'], torch.tensor([float('nan')]))]
        hook._report(SimpleNamespace(optim_wrapper=None))

    for main, expected in (
        (diverged, 'error: training has diverged: loss nan in iteration 7. '),
        (missing_file, 'error: there is no config file no/such/config.py'),
        (unknown_key, "error: --cfg-options: there is no 'lrr' in the config"),
        (unknown_type, 'error: demul_mm.NoSuchModel is not in the demul_mm::model registry'),
    ):
        code, text = exit_code(main, capsys)
        assert code == 2
        assert text.startswith(expected)
        assert 'Traceback' not in text
        with pytest.raises((ValueError, OSError, KeyError, FloatingPointError)):
            run_tool(main, ['--debug'])


def test_a_console_that_cannot_show_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is done, whatever the console can show."""
    written = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding='cp1252'))
        with pytest.raises(SystemExit) as stop:
            run_tool(lambda: print('狗 ran'))
        sys.stdout.flush()
        sys.stdout.detach()
    assert not stop.value.code
    assert written.getvalue() == b'\\u72d7 ran\n'


def test_a_bug_keeps_its_traceback() -> None:
    def bug() -> None:
        torch.zeros(2).view(3)

    def other_bug() -> None:
        torch.ones(2).to('no such device')

    def overflow() -> None:
        with np.errstate(all='raise'):
            np.ones(1) / np.zeros(1)

    for main in (bug, other_bug, overflow, lambda: CONFIG['x']):
        with pytest.raises((RuntimeError, KeyError, FloatingPointError)):
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
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='needs torchrun'):
        launch(Config({}), 'pytorch')


def test_slurm_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(PROCID='3', NTASKS='4', LOCALID='1', NODELIST='n[1-2]').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    monkeypatch.setattr(subprocess, 'check_output', lambda *args, **kwargs: 'n1\nn2\n')
    made: list[tuple] = []
    monkeypatch.setattr(
        torch.distributed,
        'init_process_group',
        lambda kind, timeout: made.append((kind, timeout)),
    )
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = Config(dict(find_unused_parameters=True, env_cfg=dict(dist_cfg=dict(timeout=90))))
    launch(config, 'slurm')
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    assert [os.environ[name] for name in names] == ['3', '4', '1', 'n1', '29500']
    assert made == [('gloo', timedelta(seconds=90))]
    assert config.model_wrapper_cfg == dict(
        type='mmengine.MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
