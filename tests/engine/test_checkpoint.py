"""Checkpoints: nothing in them is executed, and none is ever half written."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from demul_mm.engine import checkpoint
from demul_mm.engine.checkpoint import allow_mmengine_checkpoints, write_atomically

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
    assert not Path('was_run').exists()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'epoch_1.pth'
    write_atomically(path, b'old')

    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoint.os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]
