"""The train and test tools from the command line, on a toy model."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/engine/toy_config.py'


def run_in_process(name: str, *arguments: str) -> None:
    """Run a tool as ``python tools/...`` would, without the seconds that its imports take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, 'argv', [name, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(name, run_name='__main__')
    if stop.value.code:
        raise SystemExit(stop.value.code)


def run(*command: str, expect: int = 0) -> subprocess.CompletedProcess:
    """Run a command from the repository's root."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHON=sys.executable, PYTHONWARNINGS='ignore')
    env['PORT'] = str(free_port())
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300, check=False
    )
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def config(folder: Path) -> str:
    """The toy config under a name of its own: mmengine keeps its loggers by name."""
    path = folder / f'toy_{folder.name}.py'
    path.write_text(f"_base_ = ['{CONFIG}']\n")
    return str(path)


def measured(folder: Path, checkpoint: Path) -> dict:
    """The metrics that tools/test.py gives a checkpoint."""
    run_in_process('tools/test.py', config(folder), str(checkpoint), '--work-dir', str(folder))
    (path,) = folder.glob('*/[0-9]*.json')
    return json.loads(path.read_text())


def validated(work_dir: Path) -> float:
    """The score of the last validation of a run."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.open()]
    return next(line['score'] for line in reversed(lines) if 'score' in line)


def test_testing_gives_what_validation_gave(tmp_path: Path) -> None:
    run_in_process('tools/train.py', config(tmp_path), '--amp', '--work-dir', str(tmp_path / 'w'))
    dumped = next((tmp_path / 'w').glob('toy_*.py')).read_text()
    assert "dtype='bfloat16'" in dumped
    assert 'demul_mm.AutocastOptimWrapper' in dumped
    score = measured(tmp_path, tmp_path / 'w/epoch_4.pth')['score']
    assert score == pytest.approx(validated(tmp_path / 'w'), abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_and_measure_what_one_does(tmp_path: Path) -> None:
    """17 items do not divide by 2: the one that the sampler repeats is not counted twice."""
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    work_dir = str(tmp_path / 'w')
    run('tools/dist_train.sh', str(CONFIG), '2', '--work-dir', work_dir, *options)
    score = measured(tmp_path, tmp_path / 'w/epoch_1.pth')['score']
    assert score == pytest.approx(validated(tmp_path / 'w'), abs=1e-6)


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ['tools/train.py', str(CONFIG), '--cfg-options', 'optim_wrapper.optimiser.lr=1'],
            "there is no 'optimiser' in 'optim_wrapper' of the config "
            '(given: optim_wrapper.optimiser.lr). Did you mean optim_wrapper.optimizer?',
        ),
        (['tools/train.py', 'configs/no.py'], 'there is no config file configs/no.py'),
        (['tools/train.py', str(CONFIG), '--resume', 'no.pth'], 'there is no checkpoint no.pth'),
        (['tools/test.py', str(CONFIG), 'no.pth'], 'there is no checkpoint no.pth'),
        (['tools/test.py', str(CONFIG), str(CONFIG), '--dump', 'x.pkl'], 'that ends in .json'),
        (['tools/misc/print_config.py', 'x.py'], 'there is no config file x.py'),
    ],
)
def test_mistakes_are_one_line(
    command: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_in_process(*command)
    error = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(error) == 2
    assert error[0].startswith('error: ')
    assert message in error[0]


@pytest.mark.parametrize('name', ['train.py', 'test.py', 'misc/print_config.py'])
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture) -> None:
    run_in_process(f'tools/{name}', '--help')
    assert f'python tools/{name} configs/' in capsys.readouterr().out


def test_print_config_applies_options(capsys: pytest.CaptureFixture) -> None:
    options = ('--cfg-options', 'train_cfg.max_epochs=7')
    run_in_process('tools/misc/print_config.py', str(CONFIG), *options)
    assert 'max_epochs=7' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_scripts_say_how_they_are_used(name: str) -> None:
    assert run(f'tools/{name}.sh', expect=2).stderr.startswith(f'usage: tools/{name}.sh')
