"""The train and test tools from the command line, on a toy model."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'tests/engine/toy_config.py')


def run(*command: str, expect: int = 0) -> subprocess.CompletedProcess:
    """Run a tool from the repository's root."""
    if command[0].endswith('.py'):
        command = (sys.executable, *command)
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


def metrics(work_dir: Path) -> dict:
    """What the last test in this work dir wrote."""
    (path,) = work_dir.glob('*/[0-9]*.json')
    return json.loads(path.read_text())


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp('trained')
    run('tools/train.py', CONFIG, '--amp', '--work-dir', str(work_dir))
    return work_dir


@pytest.mark.slow
def test_testing_gives_what_validation_gave(trained: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in next(trained.glob('*/vis_data/scalars.json')).open()]
    validated = next(line['score'] for line in reversed(lines) if 'score' in line)
    run('tools/test.py', CONFIG, str(trained / 'epoch_4.pth'), '--work-dir', str(tmp_path))
    assert metrics(tmp_path)['score'] == pytest.approx(validated, abs=1e-6)
    assert 'AutocastOptimWrapper' in (trained / 'toy_config.py').read_text()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(trained: Path, tmp_path: Path) -> None:
    """17 items do not divide by 2: the one that the sampler repeats is not counted twice."""
    checkpoint = str(trained / 'epoch_4.pth')
    run('tools/test.py', CONFIG, checkpoint, '--work-dir', str(tmp_path / 'one'))
    run('tools/dist_test.sh', CONFIG, checkpoint, '2', '--work-dir', str(tmp_path / 'two'))
    one, two = metrics(tmp_path / 'one')['score'], metrics(tmp_path / 'two')['score']
    assert two == pytest.approx(one, abs=1e-6)


@pytest.mark.slow
def test_two_processes_train(tmp_path: Path) -> None:
    options = ['--work-dir', str(tmp_path), '--no-validate', '--cfg-options']
    run('tools/dist_train.sh', CONFIG, '2', *options, 'train_cfg.max_epochs=1')
    assert (tmp_path / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ['tools/train.py', CONFIG, '--cfg-options', 'optim_wrapper.optimiser.lr=1'],
            "there is no 'optimiser' in 'optim_wrapper' of the config "
            '(given: optim_wrapper.optimiser.lr). Did you mean optim_wrapper.optimizer?',
        ),
        (['tools/train.py', 'configs/no.py'], 'there is no config file configs/no.py'),
        (['tools/test.py', CONFIG, 'no.pth'], 'there is no checkpoint no.pth'),
        (['tools/test.py', CONFIG, CONFIG, '--dump', 'x.pkl'], 'a name that ends in .json'),
        (['tools/train.py', CONFIG, '--resume', 'no.pth'], 'there is no checkpoint no.pth'),
    ],
)
def test_mistakes_are_one_line(command: list[str], message: str) -> None:
    error = run(*command, expect=2).stderr.strip().splitlines()
    assert len(error) == 2
    assert error[0].startswith('error: ')
    assert message in error[0]


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_scripts_say_how_they_are_used(name: str) -> None:
    assert run(f'tools/{name}.sh', expect=2).stderr.startswith(f'usage: tools/{name}.sh')
