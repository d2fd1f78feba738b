"""From a joint score to a probability, and from a video's likeness to whether it matches at all."""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import Tensor, nn

from demul_mm.registry import MODELS

PRIOR = 1e-3  # precision of both numbers


@MODELS.register_module()
class ScoreCalibrator(nn.Module):
    """``probability = sigmoid(scale * score + bias)`` (Platt scaling with a temperature).

    Fitted on held-out train videos, never on the test split, so that the probability is that of
    IoU >= .5. It keeps the order of scores. The two numbers are buffers: they are saved with the
    weights, and no optimizer touches them.

    That probability takes for granted that the video holds the moment. Whether it does is judged
    by another number, the likeness of query and video: :meth:`match` says how usual so low a
    likeness is for queries whose moment is there.
    """

    scale: Tensor
    bias: Tensor
    num_fitted: Tensor
    match_levels: Tensor  # (99,) percentiles of the likeness of held-out queries and their videos

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('scale', torch.tensor(1.0))
        self.register_buffer('bias', torch.tensor(0.0))
        self.register_buffer('num_fitted', torch.tensor(0))
        # Until they are fitted, below any likeness: everything matches.
        self.register_buffer('match_levels', torch.full((99,), -1e4))

    def forward(self, score: Tensor) -> Tensor:
        """Scores of any shape to probabilities."""
        return (self.scale * score + self.bias).sigmoid()

    @torch.no_grad()
    def fit(self, scores: Tensor, hits: Tensor) -> None:
        """Maximum likelihood, with a weak prior that keeps it finite.

        Args:
            scores: ``(N,)`` joint scores of top predictions.
            hits: ``(N,)`` bool: IoU with the truth at least .5.
        """
        if len(scores) < 2 or bool(hits.all()) or not bool(hits.any()):
            raise ValueError(
                f'cannot calibrate on {len(scores)} predictions with {int(hits.sum())} hits: '
                'it takes hits and misses'
            )
        x, y = scores.double().cpu().numpy(), hits.double().cpu().numpy()
        center, spread = x.mean(), max(x.std(ddof=1), 1e-6)
        z = np.stack([(x - center) / spread, np.ones_like(x)], 1)  # (N, 2)

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            score = z @ w
            value = np.logaddexp(0, score).sum() - score @ y + PRIOR / 2 * w @ w
            return value, z.T @ (expit(score) - y) + PRIOR * w

        w = minimize(loss, [1.0, 0.0], jac=True, tol=1e-9).x
        if w[0] < 1e-3:  # a negative slope would turn the order round: the score says nothing
            w = np.array([1e-3, logit(y.mean())])
        slope = w[0] / spread
        self.scale.fill_(slope)
        self.bias.fill_(w[1] - slope * center)
        self.num_fitted.fill_(len(scores))

    @torch.no_grad()
    def fit_match(self, likeness: Tensor) -> None:
        """Keep the percentiles of the likeness of queries and the videos that hold their moments.

        Args:
            likeness: ``(N,)`` of held-out queries, larger is more alike.
        """
        share = torch.arange(1, 100, device=likeness.device, dtype=torch.float64) / 100
        self.match_levels.copy_(likeness.double().quantile(share))

    def match(self, likeness: Tensor) -> Tensor:
        """How usual it is for a query to be no more like its own video: ``likeness`` to [0, 1].

        Of queries whose moment is in the video, about a share ``p`` gets a value below ``p``, so a
        threshold of ``p`` gives that share of false alarms. All ones where nothing was fitted.
        """
        below = torch.searchsorted(self.match_levels, likeness.to(self.match_levels), right=True)
        return (below / 99).to(likeness.dtype)
