"""DeMUL itself through the tools: killed and resumed, and on two processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from demul_mm.engine.checkpoint import allow_mmengine_checkpoints
from tests.engine.tiny import write_tiny_demul
from tests.tools.running import ROOT, environment, measured, run_in_process, run_warm_script
from tests.warm import Program

allow_mmengine_checkpoints()
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_demul(tmp_path_factory.mktemp('demul') / 'data')


@pytest.fixture(scope='module')
def whole(config: str) -> Path:
    """The work dir of a run of three epochs that nothing interrupted."""
    work_dir = Path(config).parents[1] / 'whole'
    run_in_process('tools/train.py', config, '--work-dir', str(work_dir))
    return work_dir


def kill_in_epoch(epoch: int, *command: str) -> None:
    """Start a tool and send it SIGKILL after the second iteration of an epoch."""
    process = Program(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if f'Epoch(train) [{epoch}][2/' in line:
            os.killpg(process.pid, signal.SIGKILL)  # with its data loader workers
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, ''.join(lines[-40:])


def test_kill_9_then_resume(config: str, whole: Path, tmp_path: Path) -> None:
    command = ['tools/train.py', config, '--work-dir', str(tmp_path)]
    kill_in_epoch(3, *command)
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    assert not (tmp_path / 'epoch_3.pth').exists()
    run_in_process(*command, '--resume')
    one, two = (torch.load(d / 'epoch_3.pth', weights_only=True) for d in (whole, tmp_path))
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        torch.testing.assert_close(two[part], one[part], rtol=0, atol=0)
    assert last_metrics(tmp_path) == last_metrics(whole)
    assert [p.name for p in tmp_path.glob('best*')] == [p.name for p in whole.glob('best*')]


def last_metrics(work_dir: Path) -> dict:
    """What the last validation of the last run in this work dir measured."""
    path = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in path.open()]
    metrics = next(line for line in reversed(lines) if 'mIoU' in line)
    return {k: v for k, v in metrics.items() if k not in ('time', 'data_time')}


def test_two_processes_train_and_measure_what_one_does(config: str, tmp_path: Path) -> None:
    """Five videos do not divide by two: the one that is repeated is not counted twice."""
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    arguments = [config, '2', '--work-dir', str(tmp_path / 'two'), *options]
    run_warm_script('tools/dist_train.sh', *arguments)
    checkpoint = str(tmp_path / 'two' / 'epoch_1.pth')
    run_in_process('tools/test.py', config, checkpoint, '--work-dir', str(tmp_path / 'one'))
    one, two = measured(tmp_path / 'one'), last_metrics(tmp_path / 'two')
    names = [name for name in one if 'IoU' in name]
    assert len(names) > 20
    assert [two[name] for name in names] == pytest.approx([one[name] for name in names], abs=1e-3)


def test_dump_is_json(config: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / 'predictions.json'
    work_dir = str(tmp_path / 'w')
    command = [config, str(whole / 'epoch_3.pth'), '--work-dir', work_dir, '--dump', str(path)]
    run_in_process('tools/test.py', *command)
    dump = json.loads(path.read_text())
    assert (dump['format'], dump['version']) == ('demul_mm.predictions', 1)
    assert len(dump['predictions']) == 15
    assert {len(p['pred'][0]) for p in dump['predictions']} == {3}


def test_several_time_scales(config: str, whole: Path, tmp_path: Path) -> None:
    """The same scale twice measures what the plain test does; others measure something else."""
    checkpoint, twice = str(whole / 'epoch_3.pth'), tmp_path / 'twice.py'
    same = "dict(type='ResampleClips', num_clips=128)"
    twice.write_text(
        f"_base_ = ['{config}']\n"
        "tta_pipeline = [dict(type='LoadVideoFeature'), dict(type='TestTimeAug', transforms=["
        f"[{same}, {same}], [dict(type='PackMomentInputs')]])]\n"
        'tta_model = dict(vote_iou=None)\n'
    )
    found = {}
    for name, command in {
        'plain': [config],
        'twice': [str(twice), '--tta'],
        'scales': [config, '--tta'],
    }.items():
        path, *options = command
        work_dir = str(tmp_path / name)
        run_in_process('tools/test.py', path, checkpoint, '--work-dir', work_dir, *options)
        found[name] = {k: v for k, v in measured(tmp_path / name).items() if 'IoU' in k}
    assert found['twice'] == pytest.approx(found['plain'])
    assert found['scales'] != found['plain']
    assert found['scales'].keys() == found['plain'].keys()


def test_the_corpus_of_all_videos(config: str, whole: Path, tmp_path: Path) -> None:
    """Beside what the plain test measures, which stays what it is; its loop takes options."""
    checkpoint, corpus = str(whole / 'epoch_3.pth'), tmp_path / 'corpus'
    run_in_process('tools/test.py', config, checkpoint, '--work-dir', str(tmp_path / 'plain'))
    options = ['--cfg-options', 'test_cfg.num_fused=2']
    command = [config, checkpoint, '--work-dir', str(corpus), '--corpus', *options]
    run_in_process('tools/test.py', *command)
    plain, found = measured(tmp_path / 'plain'), measured(corpus)
    assert {'VR/R@1', 'VCMR/R@10,IoU=0.7', 'SVMR/R@1,IoU=0.5', 'recall/fused'} <= found.keys()
    assert found['R@1,IoU=0.5'] == pytest.approx(plain['R@1,IoU=0.5'])
    assert 'num_fused=2' in ''.join(path.read_text() for path in corpus.glob('*.py'))
