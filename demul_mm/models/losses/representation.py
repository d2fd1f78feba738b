"""Losses on the shared and the private space."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class MultiPositiveInfoNCE(nn.Module):
    """Contrast with several positives in a row: ``-log(sum of positives / sum of all)``.

    Choose it over plain InfoNCE when more than one column is right (several pyramid cells of one
    moment, several captions of one event); it asks that the positives together win, not each.
    Soft labels in [0, 1] take likely false negatives out of the denominator in part.

    Args:
        temperature: divisor in the softmax.
        loss_weight: factor of the result.
    """

    def __init__(self, temperature: float = 0.07, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(
        self,
        similarity: Tensor,
        positive: Tensor,
        mask: Tensor,
        soft: Tensor | None = None,
    ) -> Tensor:
        """Mean over the rows that have a positive.

        Args:
            similarity: ``(Q, N)`` cosines.
            positive: ``(Q, N)`` bool.
            mask: ``(Q, N)`` bool: the columns that count.
            soft: ``(Q, N)`` in [0, 1]: how likely a negative is a false one.
        """
        floor = torch.finfo(torch.float32).min
        logits = similarity.float() / self.temperature
        if soft is not None:
            keep = torch.where(positive, 1.0, 1.0 - soft)
            logits = logits + keep.clamp(min=1e-6).log()
        every = logits.masked_fill(~mask, floor).logsumexp(1)
        right = logits.masked_fill(~(positive & mask), floor).logsumexp(1)
        has_positive = (positive & mask).any(1)
        loss = torch.where(has_positive, every - right, 0.0)
        return self.loss_weight * loss.sum() / has_positive.sum().clamp(min=1)


class CrossCorrelationLoss(nn.Module):
    """Squared cross-correlation of shared and private dimensions over a batch; 0 when unrelated."""

    def forward(self, shared: Tensor, private: Tensor, mask: Tensor | None = None) -> Tensor:
        """One number in [0, 1]; 0 for fewer than two rows, and where ``P`` is 0.

        Args:
            shared: ``(N, S)``.
            private: ``(N, P)``.
            mask: ``(N,)`` bool, the rows that count; None: all.
        """
        if not private.shape[1]:
            return shared.float().sum() * 0
        keep = shared.new_ones(len(shared), 1) if mask is None else mask[:, None].to(shared.dtype)
        number = keep.sum().clamp(min=1)
        a, b = (
            F.normalize((t.float() - (t.float() * keep).sum(0) / number) * keep, dim=0)
            for t in (shared, private)
        )
        return ((a.T @ b) ** 2).mean()


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return -grad


class ModalityConfusionLoss(nn.Module):
    """Train the shared part so that a linear classifier cannot tell the modality from it.

    Gradient reversal (Ganin and Lempitsky, 2015).

    Args:
        dim: width ``S`` of the shared part.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, 1)

    def forward(self, video: Tensor, query: Tensor) -> Tensor:
        """``video (N, S)`` and ``query (Q, S)`` to one number; log 2 when both look the same."""
        logit_v = self.classifier(_ReverseGradient.apply(video)).float()
        logit_q = self.classifier(_ReverseGradient.apply(query)).float()
        return (F.softplus(-logit_v).mean() + F.softplus(logit_q).mean()) / 2


def phrase_overlap(attention: Tensor) -> Tensor:
    """How much the phrases of a sentence look at the same words; 0 when they are apart.

    Squared off-diagonal entries of the normalised Gram matrix of ``attention (Q, K, L)``.
    """
    unit = F.normalize(attention.float(), dim=-1)
    gram = unit @ unit.transpose(1, 2)  # (Q, K, K)
    eye = torch.eye(gram.shape[-1], device=gram.device)
    return ((gram - eye) ** 2).mean()
