"""The precision is chosen by what the hardware multiplies, in one place."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from demul_mm import precision
from demul_mm.engine.optim import AutocastOptimWrapper, MuonAdamW
from demul_mm.precision import autocast, choose_precision, multiplies_bfloat16
from tests.models.tiny import tiny_data, tiny_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    precision._choose.cache_clear()
    yield
    precision._choose.cache_clear()


@pytest.mark.parametrize(('native', 'expected'), [(True, 'bfloat16'), (False, 'float32')])
def test_auto_follows_the_hardware(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda device: native)
    assert choose_precision('auto', 'cpu') == getattr(torch, expected)
    assert autocast('auto', 'cpu')._enabled == native


@pytest.mark.parametrize('native', [True, False])
def test_explicit_precisions_win(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda device: native)
    assert choose_precision('float32', 'cpu') == torch.float32
    assert choose_precision('bfloat16', 'cpu') == torch.bfloat16


@pytest.mark.parametrize(
    ('given', 'device', 'message'),
    [
        ('half', 'cpu', "the precision is 'half'; allowed: auto, float32, bfloat16, float16"),
        ('float16', 'cpu', 'float16 needs a GPU'),
        ('bfloat16', 'cuda', 'this GPU has no bfloat16'),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    given: str, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda device: False)
    with pytest.raises(ValueError, match=message) as error:
        choose_precision(given, device)
    assert '\n' not in str(error.value)


def test_the_choice_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    logger = type('Logger', (), {'info': lambda self, line: lines.append(line)})()
    monkeypatch.setattr(precision.MMLogger, 'get_current_instance', lambda: logger)
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda device: False)
    for _ in range(3):
        choose_precision('auto', 'cpu')
    assert lines == ['precision on cpu: float32, for the hardware does not multiply bfloat16']


@pytest.mark.slow
def test_a_processor_without_bfloat16_can_be_imitated() -> None:
    code = "from demul_mm.precision import multiplies_bfloat16 as m; assert not m('cpu')"
    limits = {'ATEN_CPU_CAPABILITY': 'avx2', 'ONEDNN_MAX_CPU_ISA': 'AVX2', 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, '-c', code], env=limits, check=True)


def test_other_devices_than_cpu_and_cuda_take_float32() -> None:
    assert not multiplies_bfloat16('mps')


def test_auto_is_float32_to_the_bit_where_it_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same losses, whether float32 is asked for or chosen."""
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda device: False)
    losses = []
    for asked in ('auto', 'float32'):
        model = tiny_model(neck=dict(stages=('words',), cells_talk=True)).train()
        optimizer = MuonAdamW(model.parameters(), lr=4e-3, precision=asked)
        wrapper = AutocastOptimWrapper(optimizer, dtype=asked)
        torch.manual_seed(0)
        steps = [model.train_step(tiny_data(), wrapper) for _ in range(4)]
        losses.append([float(step['loss']) for step in steps])
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
