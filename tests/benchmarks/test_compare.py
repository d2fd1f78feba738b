"""Methods, and parts of one, side by side: one command, resumed, one table."""

import json
import runpy
from pathlib import Path

import pytest

from demul_mm.analysis.logs import read_scalars
from demul_mm.evaluation.predictions import save_predictions
from tests.engine.tiny import DIM, write_tiny_folds
from tests.tools.running import call, run_in_process

pytestmark = pytest.mark.slow

OTHER = """
_base_ = ['demul_tiny_cv.py']
custom_imports = dict(imports=['projects.tan2d'])
model = dict(
    _delete_=True,
    type='TAN2D',
    language=dict(type='LanguageEncoder', lm=dict(type='TransformersLM', name='minilm'), dim=16),
    streams=dict(visual=dict(in_dim={dim})), text_dim=16, dim=8, num_layers=1)
custom_hooks = [dict(type='EpochSeedHook')]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3))
"""


@pytest.fixture
def configs(tmp_path: Path) -> list[str]:
    ours = write_tiny_folds(tmp_path / 'demul_tiny_cv.py', 'train_cfg = dict(val_begin=3)\n')
    other = tmp_path / 'tan2d_tiny_cv.py'
    other.write_text(OTHER.format(dim=DIM))
    return [str(ours), str(other)]


@pytest.mark.usefixtures('warm')
def test_one_table(tmp_path: Path, configs: list[str]) -> None:
    work_dir = tmp_path / 'runs'
    command = ['benchmarks/compare.py', *configs, '--epochs', '1', '--folds', '1']
    run_in_process(*command, '--work-dir', str(work_dir))
    table = json.loads((work_dir / 'table.json').read_text())
    assert list(table) == ['demul', 'tan2d']
    for result in table.values():
        assert 0 < result['report']['queries'] < 36
        assert result['cost']['epochs'] == 1
        assert result['cost']['params M'] > 0
        assert result['cost']['train s'] > 0
        name = Path(result['config']).stem  # validated, though it ended before the recipe would
        assert list((work_dir / name / 'seed_0_fold_1').glob('best_*.pth'))
    text = (work_dir / 'table.md').read_text()
    for row in ('| demul |', '| tan2d |', '| floor/constant_window |', '| oracle of tan2d |'):
        assert row in text
    assert (work_dir / 'accuracy.png').stat().st_size > 1000

    predictions = work_dir / 'tan2d_tiny_cv' / 'seed_0_fold_1' / 'predictions.json'
    before = predictions.stat().st_mtime_ns
    run_in_process(*command, '--work-dir', str(work_dir))  # goes on: nothing is left to do
    assert predictions.stat().st_mtime_ns == before
    assert json.loads((work_dir / 'table.json').read_text()).keys() == table.keys()


@pytest.mark.usefixtures('warm')
def test_equal_seconds_and_rates(tmp_path: Path, configs: list[str]) -> None:
    work_dir = tmp_path / 'runs'
    command = ['benchmarks/compare.py', configs[1], '--seconds', '0.1', '--folds', '1']
    run_in_process(*command, '--rates', '0.1', '1', '--work-dir', str(work_dir))
    (result,) = json.loads((work_dir / 'table.json').read_text()).values()
    assert list(result['rates']) == ['0.0001', '0.001']
    best = max(result['rates'], key=result['rates'].get)
    assert result['cost']['lr'] == float(best)
    assert result['cost']['peak MB'] > 100

    trials = runpy.run_path('benchmarks/trials.py')
    trial = work_dir / 'trials' / 'tan2d_tiny_cv' / 'time'
    rows = [row for row in read_scalars(trial) if 'loss' in row]
    assert sum(n for n, _ in trials['blocks'](trial)) == rows[-1]['iter']
    # One process does all, so its processor has no more time than the clock shows.
    assert all(0 < row['processor_time'] <= 1.05 * row['time'] for row in rows)


@pytest.mark.usefixtures('warm')
def test_what_parts_are_worth(
    tmp_path: Path, configs: list[str], capsys: pytest.CaptureFixture
) -> None:
    """One command, resumed: each part that the recipe has, with paired intervals."""
    work_dir = tmp_path / 'runs'
    command = ['benchmarks/ablation_cv.py', configs[0], '--folds', '1', '--seeds', '0']
    command += ['--variants', 'no_fusion', 'no_actions', '--work-dir', str(work_dir)]
    command += ['--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=1']
    run_in_process(*command)
    assert 'no_actions changes nothing' in capsys.readouterr().out
    page = (work_dir / 'page.md').read_text()
    (row,) = (line for line in page.splitlines() if line.startswith('| no_fusion |'))
    assert row.count('[') == row.count('|') - 2  # every metric with its interval
    assert '| no_actions |' not in page

    kept = work_dir / 'demul_tiny_cv' / 'no_fusion' / 'seed_0_fold_1' / 'predictions.json'
    before = kept.stat().st_mtime_ns
    run_in_process(*command)  # goes on: nothing is left to do
    assert kept.stat().st_mtime_ns == before


def test_seeds_of_an_earlier_call_do_not_count(
    tmp_path: Path, configs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend('benchmarks')
    difference = runpy.run_path('benchmarks/ablation_cv.py')['difference']
    whole, other = tmp_path / 'whole', tmp_path / 'other'
    moment = {'video_id': 'v', 'query': 'q', 'duration': 10.0, 'gt': [[2.0, 6.0]]}
    right = {**moment, 'query_id': 'v#0', 'pred': [[2.0, 6.0, 1.0]]}
    wrong = {**moment, 'query_id': 'v#0', 'pred': [[7.0, 9.0, 1.0]]}
    elsewhere = {**wrong, 'query_id': 'v#1'}  # of a fold that is not tested now
    for folder, entry in ((whole, wrong), (other, right)):
        folder.mkdir()
        save_predictions(folder / 'seed_0.json', [entry], {})
        save_predictions(folder / 'seed_1.json', [elsewhere], {})
    assert difference(configs[0], whole, whole, [0])['mIoU'] == 0
    assert difference(configs[0], whole, other, [0])['mIoU'].startswith('+100.0 [')
    with pytest.raises(FileNotFoundError, match='seed_2'):
        difference(configs[0], whole, other, [0, 2])


@pytest.mark.parametrize('tool', ['compare', 'ablation_cv'])
def test_configs_of_one_name_are_refused(tool: str, configs: list[str]) -> None:
    done = call(f'benchmarks/{tool}.py', configs[0], f'elsewhere/{Path(configs[0]).name}')
    assert done.code == 2
    assert 'error: two configs have one name' in done.err


@pytest.mark.parametrize(
    ('name', 'metric'),
    [
        ('demul_charades_clip_cv', 'mIoU'),
        ('demul_qvhighlights_captions_cv', 'mAP'),
        ('demul_youcook2_transcripts_cv', 'R@1,IoU=0.5'),
    ],
)
def test_rates_are_chosen_by_what_chooses_checkpoints(
    name: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend('benchmarks')
    compare = runpy.run_path('benchmarks/compare.py')
    assert compare['choosing_metric'](f'configs/{name}.py') == metric
