"""The train and test tools from the command line, on a toy model."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.tools.running import ROOT, call, measured, run, run_in_process

CONFIG = ROOT / 'tests/engine/toy_config.py'


def config(folder: Path) -> str:
    """The toy config under a name of its own: mmengine keeps its loggers by name."""
    path = folder / f'toy_{folder.name}.py'
    path.write_text(f"_base_ = ['{CONFIG}']\n")
    return str(path)


def score_of(folder: Path, checkpoint: Path) -> float:
    """The score that tools/test.py gives a checkpoint."""
    run_in_process('tools/test.py', config(folder), str(checkpoint), '--work-dir', str(folder))
    return measured(folder)['score']


def validated(work_dir: Path) -> float:
    """The score of the last validation of a run."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.open()]
    return next(line['score'] for line in reversed(lines) if 'score' in line)


def test_testing_gives_what_validation_gave(tmp_path: Path) -> None:
    run_in_process('tools/train.py', config(tmp_path), '--amp', '--work-dir', str(tmp_path / 'w'))
    dumped = next((tmp_path / 'w').glob('toy_*.py')).read_text()
    assert "dtype='auto'" in dumped
    assert 'demul_mm.AutocastOptimWrapper' in dumped
    score = score_of(tmp_path, tmp_path / 'w/epoch_4.pth')
    assert score == pytest.approx(validated(tmp_path / 'w'), abs=1e-6)


def test_amp_leaves_the_precision_that_is_asked_for() -> None:
    use_autocast = runpy.run_path(str(ROOT / 'tools/train.py'))['use_autocast']
    for asked, expected in ((None, 'auto'), ('bfloat16', 'bfloat16'), ('float16', 'float16')):
        config = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype=asked)))
        use_autocast(config)
        assert config.optim_wrapper.dtype == expected
    with pytest.raises(ValueError, match=r'optim_wrapper\.dtype=float32 none: leave one out'):
        use_autocast(Config(dict(optim_wrapper=dict(dtype='float32'))))


def test_auto_scale_lr_and_deterministic(tmp_path: Path) -> None:
    """The learning rate 0.02 is for batches of 16; the toy's are of 4."""
    options = ['--no-validate', '--cfg-options', 'param_scheduler=None', 'train_cfg.max_epochs=1']
    flags = ['--auto-scale-lr', '--deterministic', '--seed', '3', '--work-dir', str(tmp_path)]
    try:
        run_in_process('tools/train.py', config(tmp_path), *flags, *options)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    (path,) = tmp_path.glob('*/vis_data/scalars.json')
    assert json.loads(path.read_text().splitlines()[-1])['lr'] == pytest.approx(0.005)
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['meta']['seed'] == 3


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
        (['tools/test.py', str(CONFIG), str(CONFIG)], 'toy_config.py is damaged or no checkpoint'),
        (['tools/train.py', str(CONFIG), '--resume', str(CONFIG)], 'no checkpoint'),
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


def test_dump_must_be_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(SystemExit):
        run_in_process('tools/test.py', str(CONFIG), str(tmp_path / 'a.pth'), '--dump', 'x.pkl')
    assert "give a name that ends in .json, not 'x.pkl'" in capsys.readouterr().err


def test_print_config_applies_options(capsys: pytest.CaptureFixture) -> None:
    options = ('--cfg-options', 'train_cfg.max_epochs=7')
    run_in_process('tools/misc/print_config.py', str(CONFIG), *options)
    assert 'max_epochs=7' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_scripts_say_how_they_are_used(name: str) -> None:
    assert run(f'tools/{name}.sh', expect=2).stderr.startswith(f'usage: tools/{name}.sh')


@pytest.mark.parametrize(
    ('name', 'arguments', 'expected'),
    [
        ('dist_train', 'c.py 2 --amp', '--nproc_per_node=2 tools/train.py c.py'),
        ('dist_test', 'c.py x.pth 2 --amp', '--nproc_per_node=2 tools/test.py c.py x.pth'),
        ('slurm_train', 'part job c.py --amp', 'tools/train.py c.py'),
        ('slurm_test', 'part job c.py x.pth --amp', 'tools/test.py c.py x.pth'),
    ],
)
def test_scripts_hand_everything_on(
    name: str, arguments: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho srun "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/usr/bin:/bin')
    printed = run(f'tools/{name}.sh', *arguments.split(), python='echo').stdout
    launcher = 'slurm' if name.startswith('slurm') else 'pytorch'
    assert f'{expected} --launcher {launcher} --amp' in printed
    if launcher == 'slurm':
        assert printed.startswith('srun -p part --job-name=job --ntasks=8 --gres=gpu:8')


def test_fewer_videos_than_a_batch(tmp_path: Path) -> None:
    options = ['train_dataloader.batch_size=1000', 'train_dataloader.drop_last=True']
    done = call('tools/train.py', CONFIG, '--work-dir', tmp_path, '--cfg-options', *options)
    assert done.code == 2
    assert 'error: train_dataloader: its' in done.err
    assert 'fewer than one batch of 1000' in done.err
    assert 'Traceback' not in done.err
