"""The corpus test loop against a slow reference that scores every pair."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from demul_mm.evaluation.metrics import CorpusMomentMetric
from tests.engine.tiny import write_tiny_demul

METRICS = ('VR/', 'SVMR/', 'VCMR/')


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_demul(tmp_path_factory.mktemp('corpus') / 'data')


def make_runner(config: str, work_dir: Path, **options: Any) -> Runner:
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir)
    cfg.custom_hooks = []
    cfg.test_cfg = dict(type='CorpusTestLoop', **options)
    cfg.test_evaluator = [
        dict(type='CorpusMomentMetric', topk=(1, 2, 5), ious=(0.3, 0.5)),
        dict(type='MomentRecall'),
    ]
    for name in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg.pop(name)
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg.pop(name)
    cfg.experiment_name = work_dir.name
    return Runner.from_cfg(cfg)


@pytest.fixture(scope='module')
def runner(config: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    yield make_runner(config, tmp_path_factory.mktemp('run'), num_fused=5, num_videos=5)


@torch.no_grad()
def slow_answers(model: torch.nn.Module, samples: list[dict]) -> tuple[dict, list[dict]]:
    """Every query with every video, one video at a time through the encoder."""
    encoded = []
    for item in samples:
        batch = dict(
            inputs={name: [rows] for name, rows in item['inputs'].items()},
            data_samples=[item['data_samples']],
        )
        data = model.data_preprocessor(batch, False)
        encoded.append((item['data_samples'], model.encode_video(data['inputs'])))
    answers, truth = {}, []
    for sample, _ in encoded:
        for q, text in enumerate(sample.queries):
            query = model.encode_query([text])
            found = []
            for other, video in encoded:
                zero = torch.zeros(1, dtype=torch.int64)
                candidates = model.localize(video, query, zero, zero)
                found.append((other.video_id, candidates, other.duration))
            # Curves are normalised over all videos: take the difference back from the term.
            answers[sample.query_ids[q]] = renormalised(model, encoded, query)
            truth.append(
                dict(
                    query_id=sample.query_ids[q],
                    video_id=sample.video_id,
                    gt=sample.gt_spans[q].tolist(),
                )
            )
    return answers, truth


def renormalised(model: torch.nn.Module, encoded: list, query: Any) -> list[list]:
    """One query in all videos, fused together: they have one padded length here."""
    rows = []
    videos = type(encoded[0][1])(*(torch.cat(f) for f in zip(*(v for _, v in encoded))))
    number = len(encoded)
    candidates = model.localize(
        videos, query, torch.arange(number), torch.zeros(number, dtype=torch.int64)
    )
    for video, (sample, _) in enumerate(encoded):
        scores = model.calibrator(candidates.scores[video])
        spans = candidates.spans[video] * sample.extent
        kept: list[int] = []
        for i in scores.argsort(descending=True, stable=True).tolist():
            inside = bool(candidates.mask[video, i])
            if inside and all(overlap(spans[i], spans[k]) <= 0.5 for k in kept):
                kept.append(i)
        for i in kept[:5]:
            rows.append([sample.video_id, *spans[i].tolist(), float(scores[i])])
    return sorted(rows, key=lambda row: -row[3])


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    inter = float(min(a[1], b[1]) - max(a[0], b[0]))
    return max(0.0, inter) / float(max(a[1], b[1]) - min(a[0], b[0]))


def test_same_numbers_as_scoring_every_pair(runner: Runner) -> None:
    metrics = runner.test()
    dataset = runner.test_dataloader.dataset
    model = runner.model
    answers, truth = slow_answers(model, [dataset[i] for i in range(len(dataset))])
    expected = CorpusMomentMetric.calculate(answers, truth, topk=(1, 2, 5), ious=(0.3, 0.5))
    assert {k: v for k, v in metrics.items() if k.startswith(METRICS)} == expected
    assert 0 < expected['VR/R@1'] < 100
