"""Query-independent prior over moment location."""

import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class MomentPrior(nn.Module):
    """A few places where the moments of the training queries lie in their videos.

    The softmax of a query's scores is overconfident: where the truth is none of the candidates that
    the model rates high, it is likeliest where moments lie in general. With the probability
    ``weight`` the truth is taken to be one of ``size`` such places, each as likely as it was among
    training moments, whatever the query; otherwise to be one of the model's candidates::

        p(moment) = (1 - weight) softmax(scores) + weight share

    So the later ones of several moments cover places that are likely in general, as a
    language-blind floor does. It helps where videos are short enough for a few windows to cover
    them. The places become candidates of their own. Nothing is learned by gradient descent:
    :class:`~demul_mm.engine.hooks.MomentPriorHook` takes the places from the training split and
    fits ``weight`` on held-out videos. Until then it adds nothing.

    Args:
        size: how many places are remembered at most, ``K``.
    """

    spans: Tensor  # (K, 2) as shares of the video's duration
    share: Tensor  # (K,) how likely each is; they sum to 1, or are 0 before they are filled
    weight: Tensor  # in [0, 1)

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f'size is {size}; it must be at least 1')
        self.size = size
        self.register_buffer('spans', torch.zeros(size, 2))
        self.register_buffer('share', torch.zeros(size))
        self.register_buffer('weight', torch.tensor(0.0))

    @torch.no_grad()
    def fill(self, spans: Tensor) -> None:
        """Remember the means of ``size`` groups (k-means) of ``(N, 2)`` moments, and their shares.

        Spans are in [0, 1], shares of their videos' durations; ``N`` is at least 1.
        """
        places, counts = spans.double().cpu().unique(dim=0, return_counts=True)
        if len(places) > self.size:
            rows = spans.double().cpu().numpy()
            means, group = kmeans2(rows, self.size, minit='++', seed=0)
            counts = torch.bincount(torch.from_numpy(group).long(), minlength=self.size)
            places = torch.from_numpy(means)[counts > 0]
            counts = counts[counts > 0]
        self.spans.zero_()[: len(places)] = places.to(self.spans)
        self.share.zero_()[: len(places)] = (counts / counts.sum()).to(self.share)

    def forward(
        self, spans: Tensor, scores: Tensor, mask: Tensor, duration: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates of ``R`` pairs, and behind them the ``K`` places.

        Args:
            spans: ``(R, M, 2)``.
            scores: ``(R, M)`` joint scores.
            mask: ``(R, M)`` bool, True = valid.
            duration: ``(R,)`` of the videos, in the unit of the spans.

        Returns:
            ``(R, M + K, 2)``, ``(R, M + K)`` and ``(R, M + K)`` of all. The sum of the scores'
            exponentials is as before, and ``weight`` of it is the places'.
        """
        if not self.weight:
            return spans, scores, mask
        total = scores.masked_fill(~mask, -torch.inf).logsumexp(1, keepdim=True)  # (R, 1)
        places = (self.spans * duration[:, None, None]).to(spans)
        rated = total + (self.weight * self.share).log()
        valid = mask.any(1, keepdim=True) & (self.share > 0)
        return (
            torch.cat([spans, places], 1),
            torch.cat([scores + torch.log1p(-self.weight), rated], 1),
            torch.cat([mask, valid], 1),
        )
