"""A model, data and a metric small enough to train in a second, for tests of the platform.

Every kind of random number takes part: numpy's and torch's in the data pipeline, and dropout.
"""

import time

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from demul_mm.registry import DATASETS, METRICS, MODELS


@DATASETS.register_module(force=True)
class ToyDataset(Dataset):
    """Points ``x (4,)`` with ``y = sum(x)``, noisy in training."""

    metainfo = dict(dataset_name='toy', split='train')

    def __init__(self, length: int = 24, noise: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(3)
        self.points = torch.randn(length, 4, generator=generator)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict:
        noise = np.random.randn(4) + torch.randn(4).numpy()  # noqa: NPY002  as transforms draw
        x = self.points[index] + self.noise * torch.from_numpy(noise).float()
        return dict(inputs=x, data_samples=dict(y=float(self.points[index].sum())))


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """A small perceptron with dropout; ``pause`` seconds a step make time to be killed in."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
        self.pause = pause

    def forward(self, inputs: list, data_samples: dict, mode: str = 'tensor') -> object:
        y = self.net(torch.stack(inputs))[:, 0]  # (B,)
        if mode == 'loss':
            time.sleep(self.pause)
            return dict(loss=(y - torch.tensor(data_samples['y'])).square().mean())
        return [dict(y=t, pred=float(p)) for t, p in zip(data_samples['y'], y)]


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Minus the mean squared error, so that larger is better, and what is better if smaller."""

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results.extend(-((s['pred'] - s['y']) ** 2) for s in data_samples)

    def compute_metrics(self, results: list) -> dict:
        score = float(np.mean(results))
        return dict(score=score, error=-score)
