"""A second training also sees the held-out videos, and takes over what the first fitted on them."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.engine.hooks import SharedMeansHook
from demul_mm.engine.hooks.refit import FITTED
from tests.engine.tiny import write_tiny_folds
from tests.tools.running import call

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('warm')]

MORE = """
model = dict(
    decoupler=dict(momentum=0.1),
    length_memory=dict(type='LengthMemory'),
    prior=dict(type='MomentPrior', size=4))
train_cfg = dict(max_epochs=2)
test_evaluator = [dict(type='MomentRecall', topk=(1, 5), ious=(0.3, 0.5, 0.7))]
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folds(tmp_path_factory.mktemp('refit') / 'tiny_cv.py', MORE)


@pytest.fixture(scope='module')
def work_dir(config: Path) -> Path:
    """Of both folds, trained and trained once more."""
    done = call('tools/cross_validate.py', config, '--work-dir', config.parent / 'runs', '--refit')
    assert done.code == 0, done.err
    return config.parent / 'runs'


def again(run: Path) -> Path:
    """The second training of a first one."""
    return run.parent / 'refit' / run.name


def weights(path: Path) -> dict:
    return read_checkpoint(path)['state_dict']


def test_what_was_fitted_on_held_out_videos_is_taken_over(work_dir: Path) -> None:
    for run in work_dir.glob('seed_*_fold_*'):
        (best,) = run.glob('best_*.pth')
        first, second = weights(best), weights(again(run) / 'epoch_2.pth')
        fitted = [name for name in second if name.endswith(FITTED)]
        assert len(fitted) == len(FITTED)
        for name in fitted:
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=0)
        assert float(second['length_memory.weight']) > 0
        assert not torch.equal(first['prior.spans'], second['prior.spans'])
        learnt = [name for name in second if name.startswith('head.') and name not in fitted]
        assert not any(
            torch.equal(first[name], second[name]) for name in learnt if 'weight' in name
        )
        assert not list(again(run).glob('best_*'))


def test_what_training_videos_tell_is_learnt_from_all_of_them(config: Path, work_dir: Path) -> None:
    run = work_dir / 'seed_0_fold_0'
    settings = Config.fromfile(config)
    settings.work_dir = str(config.parent / 'again')
    settings.train_dataloader.dataset.subset = 'all'
    runner = Runner.from_cfg(settings)
    second = weights(again(run) / 'epoch_2.pth')
    model = runner.model
    model.load_state_dict(second, strict=False)
    model.eval()
    plain = {
        **settings.train_dataloader.dataset,
        'pipeline': settings.val_dataloader.dataset.pipeline,
    }
    loader = Runner.build_dataloader(dict(settings.val_dataloader, dataset=plain))
    cells, queries = SharedMeansHook().means(model, loader)
    torch.testing.assert_close(cells.float(), second['decoupler.video_means'], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        queries.float(), second['decoupler.query_means'], atol=1e-4, rtol=1e-3
    )
    dataset = runner.train_dataloader.dataset
    asked = sum(len(dataset.get_data_info(i)['queries']) for i in range(len(dataset)))
    assert int(second['length_memory.count']) == asked
    (best,) = run.glob('best_*.pth')
    assert int(weights(best)['length_memory.count']) < asked


def test_the_report_is_beside_that_of_the_first_training(config: Path, work_dir: Path) -> None:
    second = json.loads((work_dir / 'refit' / 'report.json').read_text())
    assert not (work_dir / 'report.json').exists()
    written = (work_dir / 'seed_0_fold_0' / 'last_checkpoint').stat().st_mtime_ns
    command = ('tools/cross_validate.py', config, '--work-dir', work_dir)
    assert call(*command).code == 0
    assert (work_dir / 'seed_0_fold_0' / 'last_checkpoint').stat().st_mtime_ns == written
    first = json.loads((work_dir / 'report.json').read_text())
    assert first['queries'] == second['queries'] == 36
    # Each video is trained on in the one fold of two that does not test it.
    assert first['train_queries'] < second['train_queries'] == 18
    done = call('tools/analysis_tools/compare.py', work_dir, work_dir / 'refit')
    assert done.code == 0
    assert 'difference' in done.out
    # It is a work dir as the other is.
    done = call('tools/analysis_tools/decoupling_probe.py', config, work_dir / 'refit')
    assert done.code == 0, done.err
    assert 'Moments of 36 queries' in done.out


def test_refusals(config: Path, work_dir: Path, tmp_path: Path) -> None:
    (best,) = (work_dir / 'seed_0_fold_0').glob('best_*.pth')
    command = ('tools/train.py', config, '--work-dir', tmp_path, '--refit')
    done = call(*command, best, '--cfg-options', 'train_dataloader.dataset.subset=all')
    assert done.code == 2
    assert "no subset='fit': nothing is held out" in done.err
    iterations = 'train_cfg={"type": "IterBasedTrainLoop", "max_iters": 3}'
    assert (
        'needs a train_cfg that counts epochs'
        in call(*command, best, '--cfg-options', iterations).err
    )
    assert 'leave --no-validate out' in call(*command, best, '--no-validate').err
    assert 'there is no checkpoint' in call(*command, tmp_path / 'none.pth').err
    torch.save({'state_dict': {'calibrator.scale': torch.tensor(1.0)}}, tmp_path / 'other.pth')
    done = call(*command, tmp_path / 'other.pth')
    assert 'has no calibrator.bias, which the model needs' in done.err
