"""What the hook fits the calibrator on."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData

from demul_mm.engine.hooks import CalibrationHook
from demul_mm.models.task_modules import ScoreCalibrator
from demul_mm.structures import MomentDataSample


def validated(number: int = 200, seed: int = 0) -> list[MomentDataSample]:
    """A query each; the more its semantic term, the likelier its moment is right."""
    rng = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(number):
        terms = torch.randn(2, 5, generator=rng)
        hit = float(torch.rand((), generator=rng)) < float(terms[0].sum().sigmoid())
        sample = MomentDataSample(metainfo=dict(sample_idx=i, duration=10.0))
        sample.queries, sample.gt_spans = ['x'], [[[0.0, 4.0]]]
        spans = torch.tensor([[0.0, 4.0] if hit else [6.0, 9.0], [0.0, 4.0]])
        sample.pred_moments = [
            InstanceData(spans=spans, scores=torch.rand(2), joint=terms.sum(-1), terms=terms)
        ]
        samples.append(sample)
    return samples


def runner_of(calibrator: ScoreCalibrator) -> SimpleNamespace:
    model = SimpleNamespace(calibrator=calibrator)
    return SimpleNamespace(model=model, hooks=[], logger=logging.getLogger('calibration'))


def test_scores_and_likeness_are_those_of_the_best_predictions() -> None:
    hook, calibrator = CalibrationHook(), ScoreCalibrator()
    runner, samples = runner_of(calibrator), validated()
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=samples)
    # What a sampler padded with, read in another batch: the same to a rounding.
    again = [sample.clone() for sample in samples[:3]]
    for sample in again:
        sample.pred_moments[0].joint = sample.pred_moments[0].joint.nextafter(torch.tensor(9.0))
    hook.after_val_iter(runner, 1, outputs=again)
    hook.after_val_epoch(runner)
    assert calibrator.num_fitted == 200
    assert float(calibrator.scale) == pytest.approx(1, abs=0.4)
    likeness = torch.tensor([float(sample.pred_moments[0].terms[0, 4]) for sample in samples])
    assert float(calibrator.match(likeness.median()[None])) == pytest.approx(0.5, abs=0.02)
    assert (calibrator.match(likeness) < 0.1).float().mean() == pytest.approx(0.1, abs=0.02)


def test_nothing_is_fitted_on_hits_alone() -> None:
    hook, calibrator = CalibrationHook(), ScoreCalibrator()
    runner = runner_of(calibrator)
    samples = [s for s in validated() if s.pred_moments[0].spans[0, 0] == 0]
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=samples)
    hook.after_val_epoch(runner)
    assert calibrator.num_fitted == 0
    assert calibrator.match(torch.zeros(1)).tolist() == [1]
