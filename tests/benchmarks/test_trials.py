"""Short trainings: one that diverges is the worst, and none stands for one of other settings."""

import argparse
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
import compare
import trials

from demul_mm.cli import add_config_options
from tests.engine.tiny import write_tiny_folds

TOOL = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
with open(folder.parent / 'calls', 'a') as calls:
    calls.write(folder.name + '\\n')
rate = [float(word.split('=')[1]) for word in sys.argv if word.startswith('optim_wrapper')][0]
if rate < 0:
    sys.exit('what went wrong')
(folder / 'at' / 'vis_data').mkdir(parents=True)
rows = [{'loss': 1.0, 'iter': 1, 'time': 0.5}, {'mIoU': 100 * rate}]
text = ''.join(json.dumps(row) + '\\n' for row in rows)
(folder / 'at' / 'vis_data' / 'scalars.json').write_text(text)
if rate > 1:
    print('error: training has diverged: loss nan in iteration 2', file=sys.stderr)
    sys.exit(2)
"""
RATE = 'optim_wrapper.optimizer.lr'


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its trainings are those of a tool that only tells what one of its rate would reach."""
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text(TOOL)
    monkeypatch.setattr(trials, 'ROOT', tmp_path)
    return str(write_tiny_folds(tmp_path / 'demul_tiny_cv.py'))


def rates(config: str, folder: Path, *factors: float, seed: int = 0, **options: object) -> dict:
    given = dict(cfg_options=None, rates=factors, folds=[0], seeds=[seed], picture='mIoU')
    args = argparse.Namespace(**given)
    return compare.rates(config, 8, folder, args, options)


def test_a_rate_that_diverges_is_the_worst(tmp_path: Path, config: str) -> None:
    found = rates(config, tmp_path / 'runs', 1e12, 0.1, 1)
    (lost, small, usual) = found
    assert found[lost] is None
    assert found[small] < found[usual]
    assert compare.best_rate(found) == usual
    finished = {run: tmp_path / 'runs' / f'{run:g}' / 'finished.json' for run in found}
    told = {run: json.loads(path.read_text())['diverged'] for run, path in finished.items()}
    assert told == {lost: True, small: False, usual: False}
    assert rates(config, tmp_path / 'runs', 1e12, 0.1, 1) == found
    calls = (tmp_path / 'runs' / 'calls').read_text().split()
    assert len(calls) == 3  # none is repeated
    with pytest.raises(ValueError, match=f'{re.escape(f"{lost:g}")} .*diverged'):
        compare.best_rate({lost: None})


def test_finished_means_with_these_settings(tmp_path: Path, config: str) -> None:
    folder = tmp_path / 'runs'

    def calls() -> int:
        return len((folder / 'calls').read_text().split())

    rates(config, folder, 1)
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    (run / 'of_before').touch()
    rates(config, folder, 1)
    assert calls() == 1
    rates(config, folder, 1, **{'model.neck': None})
    assert calls() == 2
    assert not (run / 'of_before').exists()  # what was logged before does not count
    rates(config, folder, 1, seed=7, **{'model.neck': None})
    assert calls() == 3
    text = Path(config).read_text()
    Path(config).write_text(text + 'train_dataloader = dict(batch_size=3)\n')
    rates(config, folder, 1, seed=7, **{'model.neck': None})
    assert calls() == 4


def test_options_are_what_is_measured(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates are multiples of the option's, and its epochs are trained."""
    given = {RATE: 1e-5, 'train_cfg.max_epochs': 12, 'train_dataloader.dataset.folds.num': 3}
    given |= {f'{part}_dataloader.dataset.folds.num': 3 for part in ('val', 'test')}
    assert compare.number_of_folds(config, given) == 3
    seen = {}

    def stop(*arguments: object) -> None:
        seen.update(arguments[-1])
        raise InterruptedError

    monkeypatch.setattr(compare, 'cross_validate', stop)
    args = argparse.Namespace(
        cfg_options=given, epochs=None, seconds=None, rates=[1, 2], folds=[0], seeds=[0],
        picture='mIoU', work_dir=str(tmp_path / 'runs'),
    )  # fmt: skip
    with pytest.raises(InterruptedError):
        compare.measure(config, args)
    assert seen[RATE] == 2e-5
    assert seen['train_cfg.max_epochs'] == 12


def test_other_failures_are_told(tmp_path: Path, config: str) -> None:
    folder = tmp_path / 'runs' / 'time'
    with pytest.raises(ChildProcessError, match='what went wrong'):
        trials.train(config, folder, 1, 0, 0, {RATE: -1.0})
    assert not (folder / 'finished.json').exists()
    with pytest.raises(ValueError, match='diverged'):
        trials.epochs_for(60, folder, config, 0, 0, {RATE: 2.0})
    # An epoch is one iteration of half a second.
    assert trials.epochs_for(60, folder, config, 0, 0, {RATE: 0.5}) == 120


def test_options_are_handed_on_as_they_were_typed() -> None:
    """A text with a comma is one for the config alone, which the tool reads, too."""

    def read(words: list[str]) -> dict:
        parser = argparse.ArgumentParser()
        add_config_options(parser)
        return parser.parse_args(words).cfg_options

    typed = ['--cfg-options', 'data_root=/d/a,b/', 'topk=1,5', 'name="x, y"', 'model.neck=None']
    options = read(typed)
    again = read(trials.command_options(options))
    assert again == options
    assert again['data_root'].text == '/d/a,b/'
