"""Checkpoints: nothing in them is executed, and none is ever half written."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from demul_mm.engine.checkpoint import (
    allow_mmengine_checkpoints,
    check_fits,
    read_checkpoint,
)
from demul_mm.files import write_atomically
from demul_mm.models.task_modules import ScoreCalibrator

allow_mmengine_checkpoints()


def test_log_histories_are_read_without_code(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    content = dict(history=history, best=np.float64(2.5), array=np.arange(3), flag=np.bool_(True))
    torch.save(content, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert loaded['history'].mean() == 2.0
    assert loaded['history'].statistics('max') == 3.0
    assert loaded['best'] == 2.5
    assert loaded['array'].tolist() == [0, 1, 2]


class Runs:
    """Pickled as a call."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    'attack',
    [
        Runs(os.system, 'touch was_run'),
        Runs(eval, '__import__("os").system("touch was_run")'),
        Runs(getattr, HistoryBuffer, '__init__'),
    ],
)
def test_a_checkpoint_that_carries_code_is_refused(
    attack: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={}, meta=attack), 'evil.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load('evil.pth', weights_only=True)
    with pytest.raises(ValueError, match=r'evil.pth holds more than weights .* refused') as error:
        read_checkpoint('evil.pth')
    assert '\n' not in str(error.value)
    assert not Path('was_run').exists()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'epoch_1.pth'
    write_atomically(path, b'old')

    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=dict(w=torch.randn(1000))), path)
    path.write_bytes(path.read_bytes()[:2000])
    for _ in range(2):
        with pytest.raises(ValueError, match=r'a.pth is damaged or no checkpoint') as error:
            read_checkpoint(path)
        assert '\n' not in str(error.value)
        path.write_bytes(b'')
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        read_checkpoint(tmp_path / 'b.pth')


def test_a_checkpoint_must_fit(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    state = {f'module.{k}': v for k, v in torch.nn.Linear(2, 3).state_dict().items()}
    torch.save(dict(state_dict=dict(state, more=torch.zeros(1))), path)
    check_fits(torch.nn.Linear(2, 3), path)
    with pytest.raises(ValueError, match=r'1 of 2 .* first is weight, \(3, 4\) .* shape \(3, 2\)'):
        check_fits(torch.nn.Linear(4, 3), path)
    model = torch.nn.Linear(2, 3)
    model.calibrator = ScoreCalibrator()
    state.update({f'calibrator.{k}': v for k, v in model.calibrator.state_dict().items()})
    torch.save(dict(state_dict=state), path)
    check_fits(model, path)
    state.pop('calibrator.bias')
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match=r'first is calibrator\.bias'):
        check_fits(model, path)


def test_a_checkpoint_of_other_names_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=torch.nn.Linear(2, 3).state_dict()), path)
    with pytest.raises(ValueError, match=r'2 of 2 weights differ, the first is 0.weight.*missing'):
        check_fits(torch.nn.Sequential(torch.nn.Linear(2, 3)), path)
