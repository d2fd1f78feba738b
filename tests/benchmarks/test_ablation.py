"""The ablation benchmark: what it runs, what it skips, and the table it writes."""

import concurrent.futures
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.tiny import write_tiny_demul
from tests.tools.running import Done, call

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / 'benchmarks' / 'ablation.py')
VARIANT = "_base_ = ['./{base}']\nmodel = dict(neck=None, memory=None)\n"


class HereAndNow(concurrent.futures.Executor):
    """Carries out in this process what ProcessPoolExecutor would in another."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable, /, *args: object) -> concurrent.futures.Future:
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope='module')
def script() -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / 'benchmarks'))
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
    page = script['document'](results, 'python benchmarks/ablation.py --epochs 4')
    assert 'Made by `python benchmarks/ablation.py --epochs 4` at commit `abc1234`.' in page
    assert '**Simulated features**' in page
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in page.splitlines()
        if line.startswith('| ')
    ]
    assert rows[0] == ['', 'epochs', 'training s', 'R@1,IoU=0.5', 'mIoU']
    assert rows[2:] == [
        ['full', '4.0 ± 0.0', '50 ± 0', '42.00 ± 2.83', '10.00 ± 0.00'],
        ['no_fusion', '4.0 ± 0.0', '50 ± 0', '20.00 ± 0.00', '10.00 ± 0.00'],
        ['floor/whole_video', '', '', '', '30.00'],
        ['oracle of full', '', '', '62.00 ± 2.83', ''],
        ['oracle of no_fusion', '', '', '40.00 ± 0.00', ''],
    ]


def test_suites_name_configs_that_exist(script: dict) -> None:
    for suite in script['SUITES'].values():
        variants = suite.variants()
        assert next(iter(variants)) == 'full'
        assert {'dual_encoder', 'plain_detector', 'no_fusion'} <= variants.keys()
        assert all(variant.config.is_file() for variant in variants.values())
        assert suite.seeds.keys() <= variants.keys()
        for name, variant in variants.items():
            variant.load(suite.options, '.')  # refuses an option that does not exist
            assert len(suite.seeds_of(name)) >= 1


@pytest.mark.parametrize(
    'others', [['a/x.py', 'b/x.py'], ['full.py'], ['--variants', *2 * ['no_fusion']]]
)
def test_rows_of_one_name_are_refused(others: list[str]) -> None:
    done = call('benchmarks/ablation.py', 'x.py', *others, '--epochs', 1)
    assert done.code == 2
    assert 'error: two rows would be called' in done.err


@pytest.mark.slow
@pytest.mark.usefixtures('warm')
def test_runs_are_kept_and_the_table_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    full = Path(write_tiny_demul(tmp_path / 'data'))
    variant = full.with_name('index_only.py')
    variant.write_text(VARIANT.format(base=full.name))
    out, work_dir = tmp_path / 'table.md', tmp_path / 'work'
    options = ['--seeds', 0, '--work-dir', work_dir, '--out', out]
    options += ['--cfg-options', 'train_dataloader.num_workers=0']

    def bench(*arguments: object, apart: bool = False) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            if not apart:
                patch.setattr(concurrent.futures, 'ProcessPoolExecutor', HereAndNow)
            return call('benchmarks/ablation.py', *arguments)

    # Interrupted after the first run.
    refused = bench(full, variant.with_name('missing.py'), '--epochs', 1, *options)
    assert refused.code == 2
    assert not out.exists()
    (first,) = work_dir.glob('*/seed_0/result.json')
    trained = first.stat().st_mtime_ns
    done = bench(full, variant, '--epochs', 1, *options, apart=True)
    assert done.code == 0, done.err
    assert first.stat().st_mtime_ns == trained
    kept = {path: path.stat().st_mtime_ns for path in work_dir.glob('*/seed_0/result.json')}
    assert len(kept) == 2
    for path in kept:
        found = json.loads(path.read_text())
        assert found['epochs'] == 1
        assert found['seconds'] > 0
        assert {'R@1,IoU=0.7', 'R@5,IoU=0.3', 'mIoU', 'oracle/mIoU'} <= found['metrics'].keys()
    page = out.read_text()
    assert [line.split('|')[1].strip() for line in page.splitlines() if line[:2] == '| '][2:] == [
        'full',
        'index_only',
        'floor/whole_video',
        'floor/constant_window',
        'oracle of full',
        'oracle of index_only',
    ]
    # By time: the steps that fit are timed once and kept. Far too few seconds are one step.
    assert bench(variant, '--seconds', 0.001, *options).code == 0
    (timed,) = work_dir.glob('*/steps.json')
    assert json.loads(timed.read_text())['steps'] == 1
    done = json.loads((timed.parent / 'seed_0' / 'result.json').read_text())
    assert 0 < done['epochs'] <= 1
