"""Every fold is trained and tested once; a second call goes on where the first was stopped."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from demul_mm.datasets import PackedStore
from tests.engine.tiny import write_tiny_folds
from tests.tools.running import run_in_process

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('warm')]

MORE = """
train_cfg = dict(max_epochs=1)
test_cfg = dict(type='CorpusTestLoop', num_videos=12, num_fused=2, num_moments=10)
test_evaluator = [
    dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7)),
    dict(type='CorpusMomentMetric', topk=(1, 2), ious=(0.5,))]
published_train_queries = 100
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folds(tmp_path_factory.mktemp('cv') / 'tiny_cv.py', MORE)


def test_folds_are_run_pooled_and_not_repeated(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    work_dir = tmp_path / 'runs'
    command = ['tools/cross_validate.py', str(config), '--work-dir', str(work_dir)]
    run_in_process(*command, '--jobs', '2')
    report = json.loads((work_dir / 'report.json').read_text())
    assert (report['folds'], report['seeds']) == ([0, 1], [0])
    assert (report['queries'], report['videos']) == (36, 12)
    assert 0 < report['train_queries'] < 36
    pooled = json.loads((work_dir / 'seed_0.json').read_text())['predictions']
    folds = [
        json.loads((work_dir / f'seed_0_fold_{fold}' / 'predictions.json').read_text())
        for fold in (0, 1)
    ]
    assert pooled == [entry for fold in folds for entry in fold['predictions']]
    row = report['metrics']['R@1,IoU=0.5']
    assert row['low'] <= row['mean'] <= row['high']
    assert row['floor/constant_window'] > 0
    assert 0 <= report['metrics']['VR/R@2']['mean'] <= 100
    assert report['steps']['recall/level2'] == 100
    text = (work_dir / 'report.md').read_text()
    assert 'of the 100 of the published protocol' in text
    assert text in capsys.readouterr().out

    first, second = (work_dir / f'seed_0_fold_{fold}' / 'predictions.json' for fold in (0, 1))
    written = first.stat().st_mtime_ns
    second.unlink()
    run_in_process(*command)
    assert first.stat().st_mtime_ns == written
    assert json.loads(second.read_text()) == folds[1]

    run_in_process('tools/analysis_tools/compare.py', str(work_dir), str(work_dir))
    assert 'difference' in capsys.readouterr().out

    table = work_dir / 'probe.json'
    run_in_process(
        'tools/analysis_tools/decoupling_probe.py', str(config), str(work_dir), '--out', str(table)
    )
    assert 'Moments of 36 queries' in capsys.readouterr().out  # each by the run that tests it
    assert json.loads(table.read_text())['localization']['as it is']['mIoU'] == pytest.approx(
        report['metrics']['mIoU']['mean']
    )

    with pytest.raises(SystemExit):
        run_in_process(*command, '--cfg-options', 'train_cfg.max_epochs=2')
    assert 'holds runs with other settings' in capsys.readouterr().err


def test_a_run_that_was_killed_before_its_last_validation_is_not_tested_without_it(
    config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'runs' / 'seed_0_fold_0'
    options = [f'{part}_dataloader.dataset.folds.test=0' for part in ('train', 'val', 'test')]
    # The last epoch is saved and nothing more.
    train = ['tools/train.py', str(config), '--work-dir', str(folder), '--seed', '0']
    run_in_process(*train, '--no-validate', '--cfg-options', *options)
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_1.pth']
    command = ['tools/cross_validate.py', str(config), '--work-dir', str(folder.parent)]
    run_in_process(*command, '--folds', '0')
    (best,) = folder.glob('best_*.pth')
    assert f'checkpoint from {best}' in (folder / 'test.log').read_text()
    told = (folder / 'train.log').read_text()
    assert 'Validating epoch 1' in told
    assert 'Epoch(train)' not in told  # what was trained is not trained on


TUNED = """
_base_ = ['./tiny_cv.py']
told = dict(texts='told.jsonl', features=dict(
    visual=dict(_delete_=True, type='PackedStore', path='absent', dim=384)))
train_dataloader = dict(dataset=told)
val_dataloader = dict(dataset=told)
test_dataloader = dict(dataset=told)
model = dict(streams=dict(visual=dict(in_dim=384)))
language_tuning = dict(stream='visual', videos=2, clip_seconds=1)
"""


def test_the_sentence_encoder_is_tuned_for_each_fold_and_only_there(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_tiny_folds(tmp_path / 'tiny_cv.py', MORE)
    config = tmp_path / 'tuned_cv.py'
    config.write_text(TUNED)
    videos = [json.loads(line) for line in (tmp_path / 'data/all.jsonl').read_text().splitlines()]
    told = [
        dict(
            video_id=video['video_id'],
            duration=video['duration'],
            subtitles=[[*query['spans'][0], f'so {query["query"]}'] for query in video['queries']],
        )
        for video in videos
    ]
    # What is told of a video that no query is about is broken, and left out.
    lines = [*map(json.dumps, told), json.dumps(dict(video_id='broken', subtitles='none'))]
    (tmp_path / 'data/told.jsonl').write_text('\n'.join(lines))
    work_dir = tmp_path / 'runs'
    command = ['tools/cross_validate.py', str(config), '--work-dir', str(work_dir), '--refit']
    run_in_process(*command)
    report = json.loads((work_dir / 'refit/report.json').read_text())
    assert report['queries'] == 36
    runs = [work_dir / f'seed_0_fold_{fold}' for fold in (0, 1)]
    stores = [PackedStore(str(run / 'features'), dim=384) for run in runs]
    first, second = (store.load(videos[0]['video_id']) for store in stores)
    assert first.shape == second.shape
    assert not np.allclose(first, second, atol=1e-2)  # each by the encoder of its own fold

    probe = ['tools/analysis_tools/decoupling_probe.py', str(config)]
    run_in_process(*probe, str(work_dir / 'refit'))
    assert 'Moments of 36 queries' in capsys.readouterr().out
    with pytest.raises(SystemExit):  # the encoder as it was is another
        run_in_process(*probe, str(next(runs[0].glob('best_*.pth'))))
    assert 'another language model' in capsys.readouterr().err


def test_a_run_that_fails_says_why(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ['tools/cross_validate.py', str(config), '--work-dir', str(tmp_path), '--folds']
    with pytest.raises(SystemExit):
        run_in_process(*command, '2')
    assert 'the config has folds 0 to 1' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_in_process(*command, '0', '--cfg-options', 'train_dataloader.dataset.features=None')
    assert 'train.log ends' in capsys.readouterr().err
    # Who ran it in this process is ended by a signal as before.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_two_at_once_do_not_train_in_one_folder(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / 'seed_0_fold_0'
    folder.mkdir()
    command = ['tools/cross_validate.py', str(config), '--work-dir', str(tmp_path), '--folds', '0']
    with FileLock(folder / 'run.lock'):
        for more in ((), ('--refit',)):
            with pytest.raises(SystemExit):
                run_in_process(*command, *more)
            assert f'another process is at work in {folder}' in capsys.readouterr().err
    assert [path.name for path in folder.iterdir() if path.name != 'run.lock'] == []


def test_a_config_without_folds_is_refused(config: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run_in_process('tools/cross_validate.py', 'configs/demul_charades.py')
    assert 'needs the same folds=' in capsys.readouterr().err
