"""The same seed gives the same losses, to the last bit; another seed does not."""

import sys
from pathlib import Path

import pytest
import torch

from demul_mm.engine.checkpoint import allow_mmengine_checkpoints
from tests.engine.tiny import write_tiny_demul
from tests.tools.running import run, run_in_process

allow_mmengine_checkpoints()
pytestmark = pytest.mark.slow
EPOCHS = 13  # of four steps


def command(config: str, work_dir: Path, seed: int = 3, epochs: int = EPOCHS) -> list[str]:
    options = ['--no-validate', '--deterministic', '--seed', str(seed)]
    settings = ['--cfg-options', f'train_cfg.max_epochs={epochs}']
    settings += [f'default_hooks.checkpoint.interval={epochs}']
    return ['tools/train.py', config, '--work-dir', str(work_dir), *options, *settings]


def outcome(work_dir: Path) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """All losses of all steps, and the last weights."""
    content = torch.load((work_dir / 'last_checkpoint').read_text(), weights_only=True)
    scalars = content['message_hub']['log_scalars']
    losses = {k: v.data[0].tolist() for k, v in scalars.items() if k.startswith('train/loss')}
    return losses, content['state_dict']


def test_same_seed_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_tiny_demul(tmp_path / 'data')
    try:
        run_in_process(*command(config, tmp_path / 'one'))
        assert torch.are_deterministic_algorithms_enabled()
        run_in_process(*command(config, tmp_path / 'other', seed=4, epochs=1))
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setenv('PYTHONHASHSEED', '7')  # the order of sets must not matter
    run(sys.executable, *command(config, tmp_path / 'two'))
    (first, weights), (second, again) = outcome(tmp_path / 'one'), outcome(tmp_path / 'two')
    assert first == second
    assert len(first['train/loss']) == 4 * EPOCHS >= 50
    assert len(first) > 8  # each loss, and their sum
    torch.testing.assert_close(weights, again, rtol=0, atol=0)
    other, _ = outcome(tmp_path / 'other')
    assert other['train/loss'][0] != first['train/loss'][0]
