"""What is fitted on held-out videos is the same, however many processes read them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from torch.utils.data import DataLoader

from demul_mm.engine.hooks import (
    CalibrationHook,
    LengthMemoryHook,
    MomentPriorHook,
    VideoWeightHook,
)
from tests.engine.test_length_memory_hook import runner_of
from tests.models.tiny import only, predictions_of, tiny_data, tiny_model
from tests.warm import run_ranks

LENGTHS, QUERIES = (13, 8, 20, 9, 15), (5, 1, 2, 3, 2)  # the first comes twice, if two ranks read


def item(video: int) -> dict:
    """A video as a data set gives it."""
    data = only(tiny_data(LENGTHS, QUERIES), video)
    inputs = {name: rows[0] for name, rows in data['inputs'].items()}
    sample = data['data_samples'][0]
    sample.set_metainfo(dict(meta=dict(text=f'{" ".join(sample.queries)} seen')))
    return dict(inputs=inputs, data_samples=sample)


def fit_all() -> dict[str, float]:
    """The numbers that a validation fits on the videos of this rank and of others."""
    model = tiny_model(length_memory=dict(type='LengthMemory'), prior=dict(type='MomentPrior'))
    videos = [item(video) for video in range(len(LENGTHS))]
    loader = DataLoader(
        videos,
        batch_size=2,
        sampler=DefaultSampler(videos, shuffle=False),
        collate_fn=pseudo_collate,
    )
    runner = SimpleNamespace(**vars(runner_of(model, {})))
    runner.val_loop.dataloader = loader
    runner.logger = SimpleNamespace(info=lambda _: None, warning=lambda _: None)
    LengthMemoryHook(iou_thr=0.3).before_val_epoch(runner)
    MomentPriorHook(iou_thr=0.3).before_val_epoch(runner)
    VideoWeightHook(num_rivals=2, max_queries=11, iou_thr=0.0).before_val_epoch(runner)
    calibration = CalibrationHook(iou_thr=0.05)
    calibration.before_val_epoch(runner)
    for number, batch in enumerate(loader):
        calibration.after_val_iter(runner, number, outputs=predictions_of(model, batch))
    calibration.after_val_epoch(runner)
    return dict(
        length=float(model.length_memory.weight),
        prior=float(model.prior.weight),
        video=float(model.head.joint.video_weight),
        words=float(model.head.joint.words_weight),
        calibrated=float(model.calibrator.num_fitted),
        scale=float(model.calibrator.scale),
        bias=float(model.calibrator.bias),
    )


def _rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    torch.save(fit_all(), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_fit_what_one_does(tmp_path: Path) -> None:
    alone = fit_all()
    assert alone['calibrated'] == sum(QUERIES)
    run_ranks(_rank_main, str(tmp_path))
    for rank in range(2):
        found = torch.load(tmp_path / f'{rank}.pt', weights_only=True)
        assert found == pytest.approx(alone, rel=1e-3)
