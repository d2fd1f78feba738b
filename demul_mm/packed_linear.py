"""Frozen linear layers, whose weights oneDNN arranges once for the processor."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Frozen = TypeVar('Frozen', bound=nn.Module)

ROWS = 128
"""For so many rows at a time oneDNN arranges the weights; others are multiplied as well."""


class PackedLinear(nn.Linear):
    """A linear layer without gradient; in float32 on a CPU oneDNN multiplies it.

    torch leaves float32 to MKL, which arranges the weights anew for each product and does without
    AVX512 on some processors; oneDNN takes weights that are arranged once (docs/speed.md tells what
    that brings). They take the memory of the weights once more. Elsewhere, and in other
    precisions, it is ``nn.Linear``.
    """

    _packed: tuple[tuple[int, int], Tensor] | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> 'PackedLinear':
        """A layer with the very parameters of another."""
        bias = linear.bias is not None
        made = cls(linear.in_features, linear.out_features, bias, device='meta')
        made.weight, made.bias = linear.weight, linear.bias
        return made.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        plain = x.device.type == 'cpu' and x.dtype == self.weight.dtype == torch.float32
        if (
            not plain
            or torch.is_grad_enabled()
            or torch.is_autocast_enabled('cpu')
            or not torch.backends.mkldnn.is_available()
        ):
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self._arranged(), self.bias, 'none', [], '')

    def _arranged(self) -> Tensor:
        """The weights for oneDNN, arranged again when they have changed."""
        state = (self.weight.data_ptr(), self.weight._version)
        if self._packed is None or self._packed[0] != state:
            weight = self.weight.detach()
            self._packed = state, torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        return self._packed[1]

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_packed': None}  # which cannot be copied, and is made again


def pack_linear(module: Frozen) -> Frozen:
    """Put a :class:`PackedLinear` in the place of every ``nn.Linear`` of a frozen module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear.of(child))
    return module
