"""The joint score: relevance and position in one number."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.registry import MODELS

TERMS = ('semantic', 'quality', 'boundary', 'coherence', 'video')
BOUNDARY = TERMS.index('boundary')
VIDEO = TERMS.index('video')


@MODELS.register_module()
class JointScore(nn.Module):
    """``a semantic + b quality + d (log p_start + log p_end) / 2 + e coherence + g video``.

    The weights are positive. Those of the terms that are read within a video are learned by a
    listwise loss over the candidates of all videos of a query; that of the video's likeness is a
    buffer, which :class:`~demul_mm.engine.hooks.VideoWeightHook` fits by searching held-out
    videos. This is what "unified" means: candidates of different videos compete on one scale.

    Where videos of a corpus compete and their text is known, BM25 between it and the sentence is
    added to a video's likeness, ``words_weight`` times; that is fitted likewise.

    Args:
        init: weights at the start, in the order of ``TERMS``. The likeness starts at one over the
            temperature of the contrast that trains it, where it is a log-probability.
        terms: the terms in use; the others weigh nothing (for ablations).
    """

    used: Tensor
    video_weight: Tensor
    words_weight: Tensor

    def __init__(
        self,
        init: tuple[float, ...] = (1.0, 1.0, 0.1, 1.0, 1 / 0.07),
        terms: tuple[str, ...] = TERMS,
    ) -> None:
        super().__init__()
        unknown = set(terms) - set(TERMS)
        if unknown:
            raise ValueError(f'unknown terms {sorted(unknown)}; allowed: {", ".join(TERMS)}')
        if len(init) != len(TERMS) or min(init) <= 0:
            raise ValueError(f'init is {init}; it must be five positive numbers, for {TERMS}')
        start = torch.tensor(init[:-1], dtype=torch.float32)
        # The inverse of softplus: of a large number itself, for its exponential would be infinite.
        self.raw = nn.Parameter(torch.where(start > 20, start, start.expm1().log()))
        self.register_buffer('video_weight', torch.tensor(float(init[-1])))
        self.register_buffer('words_weight', torch.tensor(0.0))
        used = torch.tensor([term in terms for term in TERMS])
        self.register_buffer('used', used, persistent=False)

    @property
    def weights(self) -> Tensor:
        """``(5,)``, positive where a term is in use, else 0."""
        return torch.cat([F.softplus(self.raw), self.video_weight[None]]) * self.used

    def forward(self, terms: Tensor) -> tuple[Tensor, Tensor]:
        """``terms (..., 5)`` to the score ``(...)`` and the weighted terms ``(..., 5)``."""
        weighted = terms * self.weights
        return weighted.sum(-1), weighted
