"""The ablation benchmark: what it runs, what it skips, and the table it writes."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner

from tests.engine.tiny import write_tiny_demul

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / 'benchmarks' / 'ablation.py')
VARIANT = "_base_ = ['./{base}']\nmodel = dict(neck=None, memory=None)\n"


@pytest.fixture(scope='module')
def script() -> dict:
    return runpy.run_path(SCRIPT)


def result(value: float, **changes) -> dict:
    metrics = {
        'R@1,IoU=0.5': value,
        'mIoU': 10.0,
        'floor/whole_video/mIoU': 30.0,
        'oracle/R@1,IoU=0.5': value + 20,
    }
    return dict(
        epochs=4, seconds=50.0, simulated=True, commit='abc1234', metrics=metrics, **changes
    )


def test_numbers_of_the_table(script: dict) -> None:
    results = {'full': [result(40.0), result(44.0)], 'no_fusion': [result(20.0), result(20.0)]}
    page = script['document'](results, 'python benchmarks/ablation.py --epochs 4', [0, 1])
    assert 'Made by `python benchmarks/ablation.py --epochs 4` at commit `abc1234`.' in page
    assert '**Simulated features**' in page
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in page.splitlines()
        if line.startswith('| ')
    ]
    assert rows[0] == ['', 'epochs', 'training s', 'R@1,IoU=0.5', 'mIoU']
    assert rows[2:] == [
        ['full', '4 ± 0', '50 ± 0', '42.00 ± 2.83', '10.00 ± 0.00'],
        ['no_fusion', '4 ± 0', '50 ± 0', '20.00 ± 0.00', '10.00 ± 0.00'],
        ['floor/whole_video', '', '', '', '30.00'],
        ['oracle of full', '', '', '62.00 ± 2.83', ''],
        ['oracle of no_fusion', '', '', '40.00 ± 0.00', ''],
    ]


def test_names(script: dict) -> None:
    paths = [Path('c/demul_x.py'), Path('c/a/demul_x_no_fusion.py'), Path('c/other.py')]
    assert script['short_names'](paths) == ['full', 'no_fusion', 'other']


def run(patch: pytest.MonkeyPatch, *arguments: object) -> None:
    patch.setattr(sys, 'argv', [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name='__main__')


def stop(runner: Runner) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_runs_are_kept_and_the_table_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path(write_tiny_demul(tmp_path / 'data'))
    variant = full.with_name(f'{full.stem}_index_only.py')
    variant.write_text(VARIANT.format(base=full.name))
    out, work_dir = tmp_path / 'table.md', tmp_path / 'work'
    options = ['--seeds', 0, '--work-dir', work_dir, '--out', out]
    few = ['--cfg-options', 'train_dataloader.num_workers=0']
    with monkeypatch.context() as patch:  # stopped after training, before anything is tested
        patch.setattr(Runner, 'test', stop)
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, full, variant, '--epochs', 1, *options, *few)
    (checkpoint,) = work_dir.glob('*/seed_0/epoch_1.pth')
    trained = checkpoint.stat().st_mtime_ns
    assert not out.exists()
    run(monkeypatch, full, variant, '--epochs', 1, *options, *few)
    assert checkpoint.stat().st_mtime_ns == trained  # not trained again, and yet its time is known
    kept = {path: path.stat().st_mtime_ns for path in work_dir.glob('*/seed_0/result.json')}
    assert len(kept) == 2
    for path in kept:
        found = json.loads(path.read_text())
        assert found['epochs'] == 1
        assert found['seconds'] > 0
        assert {'R@1,IoU=0.7', 'R@5,IoU=0.3', 'mIoU', 'oracle/mIoU'} <= found['metrics'].keys()
    first = out.read_text()
    assert [line.split('|')[1].strip() for line in first.splitlines() if line[:2] == '| '][2:] == [
        'full',
        'index_only',
        'floor/whole_video',
        'floor/constant_window',
        'oracle of full',
        'oracle of index_only',
    ]
    # The same command trains nothing again.
    run(monkeypatch, full, variant, '--epochs', 1, *options, *few)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert out.read_text() == first
    # By time: the epochs that fit are timed once and kept. Far too few seconds are one epoch.
    run(monkeypatch, variant, '--seconds', 0.001, *options, *few)
    (timed,) = work_dir.glob('*/epochs.json')
    assert json.loads(timed.read_text())['epochs'] == 1
    assert (timed.parent / 'seed_0' / 'result.json').is_file()
