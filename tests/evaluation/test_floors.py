"""Language-blind floors: the search is exhaustive, and the metric shows them."""

import numpy as np
import pytest
import torch

from demul_mm.evaluation.floors import (
    best_windows,
    place_windows,
    relative_truth,
    window_grid,
)
from demul_mm.evaluation.metrics import MomentRecall
from demul_mm.evaluation.predictions import entries_from_sample, pad_entries
from demul_mm.registry import DATASETS
from tests.evaluation.helpers import make_sample


def _moments(num: int, seed: int):
    rng = np.random.default_rng(seed)
    entries = []
    for i in range(num):
        duration = float(rng.uniform(10, 60))
        start, end = np.sort(rng.uniform(0, duration, 2))
        sample = make_sample(i, gt=[[[start, end]]], pred=[[]], duration=duration)
        entries += entries_from_sample(sample)
    return pad_entries(entries)


def _recall(moments, windows, iou=0.5):
    placed = place_windows(relative_truth(moments), windows)
    return MomentRecall.calculate(*placed[:4], topk=(1, 5), ious=(iou,), iou_op='gt', tolerance=0.0)


def test_the_grid_has_every_window_once():
    grid = window_grid(0.05)
    assert grid.shape == (210, 2)
    assert len({tuple(w) for w in grid.tolist()}) == 210
    assert (grid[:, 0] < grid[:, 1]).all()
    assert [0.3, 0.95] in grid.tolist()


def test_no_window_of_the_grid_beats_the_best():
    moments = _moments(300, seed=0)
    best = best_windows(moments, num=5, step=0.1)
    score = _recall(moments, best)
    for window in window_grid(0.1):
        assert _recall(moments, window[None])['R@1,IoU=0.5'] <= score['R@1,IoU=0.5']
    assert score['R@5,IoU=0.5'] > score['R@1,IoU=0.5']


def test_the_second_window_takes_the_most_of_what_is_left():
    samples = [make_sample(i, gt=[[[0, 15]]], pred=[[]]) for i in range(3)]
    samples += [make_sample(i, gt=[[[15, 30]]], pred=[[]]) for i in range(3, 5)]
    moments = pad_entries([e for s in samples for e in entries_from_sample(s)])
    assert best_windows(moments, num=2).tolist() == [[0.0, 0.5], [0.5, 1.0]]


def test_truth_past_the_end_is_clipped():
    (entry,) = entries_from_sample(make_sample(0, gt=[[[15, 40]]], pred=[[]], duration=30.0))
    assert relative_truth(pad_entries([entry])).gt.tolist() == [[[0.5, 1.0]]]


def test_the_metric_reports_floors_and_the_oracle_beside_the_model():
    samples = [
        make_sample(0, gt=[[[0, 15]]], pred=[[[20, 30, 0.9], [0, 15, 0.1]]]),
        make_sample(1, gt=[[[0, 30]]], pred=[[[0, 30, 0.9]]]),
        make_sample(2, gt=[[[0, 15]]], pred=[[]]),
    ]
    metric = MomentRecall(topk=(1, 5), ious=(0.5, 0.7))
    metric.process(None, samples)
    result = metric.evaluate(3)
    third = pytest.approx(100 / 3)
    assert result['R@1,IoU=0.7'] == third
    assert result['floor/whole_video/R@1,IoU=0.7'] == third
    assert result['floor/whole_video/mIoU'] == pytest.approx(200 / 3)
    assert result['floor/constant_window/R@1,IoU=0.7'] == pytest.approx(200 / 3)
    assert result['floor/constant_window/R@5,IoU=0.7'] == 100
    assert result['oracle/R@1,IoU=0.7'] == pytest.approx(200 / 3)


class _TrainAnnotations:
    """Stands for a data set of which only annotations are asked."""

    def __len__(self):
        return 4

    def get_data_info(self, i):
        return dict(
            video_id=f't{i}', duration=10.0, queries=['x'], query_ids=[f't{i}#0'],
            gt_spans=[np.array([[6.0, 10.0]])],
        )  # fmt: skip


def test_windows_can_be_fitted_on_another_data_set():
    DATASETS.register_module(name='_TrainAnnotations', module=_TrainAnnotations)
    try:
        floors = dict(fit_on=dict(type='_TrainAnnotations'))
        metric = MomentRecall(topk=(1,), ious=(0.5,), floors=floors)
        metric.process(None, [make_sample(0, gt=[[[0, 15]]], pred=[[]])])
        result = metric.evaluate(1)
        assert metric.floors.description.startswith('constant window [0.60, 1.00], the best on')
        assert result['floor/constant_window/R@1,IoU=0.5'] == 0.0
    finally:
        DATASETS.module_dict.pop('_TrainAnnotations')


def test_placed_windows_scale_with_the_video():
    moments = _moments(3, seed=1)
    placed = place_windows(moments, torch.tensor([[0.0, 0.5]], dtype=torch.float64))
    assert torch.equal(placed.pred[:, 0, 1], moments.duration / 2)
    assert placed.pred_mask.all()
