"""The one torchvision function that mmaction2's DRN calls."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2,
    reduction: str = 'none',
) -> Tensor:
    """Focal loss on logits, as ``torchvision.ops.sigmoid_focal_loss`` defines it.

    Args:
        inputs: logits of any shape.
        targets: what is wanted, of the same shape, in [0, 1].
        alpha: weight of the positives against the negatives in [0, 1]; negative: no weights.
        gamma: exponent of the modulating factor.
        reduction: 'none', 'mean' or 'sum'.

    Returns:
        The shape of ``inputs`` for 'none', else a scalar.
    """
    if reduction not in ('none', 'mean', 'sum'):
        raise ValueError(f"reduction is '{reduction}', allowed are 'none', 'mean' and 'sum'")
    probability = torch.sigmoid(inputs)
    p_true = probability * targets + (1 - probability) * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction='none')
    loss = loss * (1 - p_true) ** gamma
    if alpha >= 0:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return loss if reduction == 'none' else getattr(loss, reduction)()
