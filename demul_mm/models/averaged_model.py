"""The moving average of the weights, in a handful of operations."""

import torch
from mmengine.model import MomentumAnnealingEMA
from torch import nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class ForeachEMA(MomentumAnnealingEMA):
    """mmengine's ``MomentumAnnealingEMA``, all parameters at once instead of one by one.

    The arguments and the averages are those of the parent; buffers are copied, not averaged.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the averages towards the parameters of ``model``."""
        step = int(self.steps)  # kept on the CPU
        if step % self.interval == 0:
            source = dict(model.named_parameters())
            averages = [average.data for average in self.avg_parameters.values()]
            latest = [source[name].data for name in self.avg_parameters]
            momentum = max(self.momentum, self.gamma / (self.gamma + step)) if step else 1.0
            torch._foreach_lerp_(averages, latest, momentum)
        for kept, buffer in zip(self.module.buffers(), model.buffers()):
            kept.copy_(buffer)
        self.steps += 1
