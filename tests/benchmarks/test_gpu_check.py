"""The check for GPUs runs on a CPU, and tells what failed without stopping there."""

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.tools.running import ROOT, run_in_process

CHECK = str(ROOT / 'benchmarks' / 'gpu_check')


def check(folder: Path, *options: str) -> tuple[dict, str]:
    """What the check wrote as JSON and as Markdown."""
    command = (CHECK, '--device', 'cpu', '--quick', '--out', str(folder / 'out'), *options)
    try:
        run_in_process(*command)
    finally:
        assert not torch.are_deterministic_algorithms_enabled()
    found = json.loads((folder / 'out.json').read_text())
    return found, (folder / 'out.md').read_text()


@pytest.mark.slow
def test_all_sections_pass_or_say_why_they_do_not_apply(tmp_path: Path) -> None:
    found, page = check(tmp_path)
    outcomes = {name: result['outcome'] for name, result in found['sections'].items()}
    skipped = {name for name, outcome in outcomes.items() if outcome != 'ok'}
    assert skipped <= {'waiting', 'compiling'}
    assert all('needs a GPU' in outcomes[name] for name in skipped)
    assert len(outcomes) == 12
    assert {'device', 'torch', 'precision', 'commit'} < set(found)
    assert found['sections']['training']['rows']['whole method, auto: ' + found['precision']]
    for name, outcome in outcomes.items():
        assert f'## {name}: {outcome}' in page


def test_a_section_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    check(tmp_path, '--only', 'index')  # loads the modules

    def broken(lab: object, rows: dict) -> None:
        """Breaks."""
        rows['so far'] = {'value': 1.0}
        raise ValueError('out of luck')

    monkeypatch.setitem(sys.modules['sections'].SECTIONS, 'hour', broken)
    with pytest.raises(SystemExit) as stop:
        check(tmp_path, '--only', 'hour', 'index')
    assert stop.value.code == 1
    sections = json.loads((tmp_path / 'out.json').read_text())['sections']
    assert sections['hour']['outcome'] == 'FAILED: ValueError: out of luck'
    assert sections['hour']['rows'] == {'so far': {'value': 1.0}}
    assert sections['index']['outcome'] == 'ok'
    assert 'out of luck' in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_in_process(CHECK)
    assert stop.value.code == 2
    assert 'no GPU here; allowed: --device cpu --quick' in capsys.readouterr().err
