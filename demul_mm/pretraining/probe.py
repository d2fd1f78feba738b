"""How good a pre-trained backbone is, on videos that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from demul_mm.models.backbones.clip_cnn import ClipCNN
from demul_mm.precision import autocast
from demul_mm.pretraining.objective import SentenceMatcher
from demul_mm.pretraining.sentences import Vocabulary
from demul_mm.pretraining.split import SentenceSplit
from demul_mm.pretraining.training import respond


@dataclass(frozen=True)
class Reading:
    """A mean average precision in [0, 1], that of guessing, and over how many."""

    precision: float
    chance: float
    count: int


def average_precision(relevant: np.ndarray, scores: np.ndarray) -> float:
    """Area under precision and recall of a ranking; 0 where nothing is relevant."""
    hits = relevant[np.argsort(-scores, kind='stable')]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean()) if hits.any() else 0.0


@torch.no_grad()
def rank_clips(
    model: ClipCNN, matcher: SentenceMatcher, vocabulary: Vocabulary, split: SentenceSplit
) -> Reading:
    """How well sentences find their clips among those of their video."""
    precision, chance = [], []
    for i, sentences in enumerate(split.sentences):
        with autocast('auto', 'cpu'):
            cells = model.embed(split.clips(i))
        logits = matcher(cells, vocabulary(sentences)).numpy()
        for inside, row in zip(split.inside(i).numpy(), logits):
            if inside.any():
                precision.append(average_precision(inside, row))
                chance.append(inside.mean())
    return Reading(float(np.mean(precision)), float(np.mean(chance)), len(precision))


@torch.no_grad()
def read_words(
    model: ClipCNN, vocabulary: Vocabulary, train: SentenceSplit, val: SentenceSplit
) -> Reading:
    """How well a linear probe reads the words from the features of single clips."""
    (x, y), (u, v) = (_probe_data(model, vocabulary, s) for s in (train, val))
    ridge = x.T @ x + 10.0 * torch.eye(x.shape[1])
    scores = (u @ torch.linalg.solve(ridge, x.T @ y)).numpy()
    found = [w for w in range(v.shape[1]) if v[:, w].sum() >= 20]
    reached = [average_precision(v[:, w].numpy() > 0, scores[:, w]) for w in found]
    return Reading(float(np.mean(reached)), float(v[:, found].mean()), len(found))


def _probe_data(
    model: ClipCNN, vocabulary: Vocabulary, split: SentenceSplit
) -> tuple[Tensor, Tensor]:
    """Features (N, d + 1) of clips that some sentence describes, and its words (N, W)."""
    features, words = [], []
    for i in range(min(len(split), 150)):
        inside = split.inside(i).float()
        described = inside.any(0)
        x = respond(model, split, i)[described]
        features.append(torch.cat([x, torch.ones(len(x), 1)], 1))
        words.append(((vocabulary(split.sentences[i]) > 0).float().T @ inside > 0).T[described])
    return torch.cat(features), torch.cat(words).float()
