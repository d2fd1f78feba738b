"""The moving average of the weights, in a handful of operations."""

import torch
from mmengine.model import MomentumAnnealingEMA
from torch import nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class ForeachEMA(MomentumAnnealingEMA):
    """mmengine's ``MomentumAnnealingEMA``, all parameters at once instead of one by one.

    The arguments and the averages are those of the parent; buffers are copied, and with
    ``update_buffers`` averaged where they hold fractions.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the averages towards the weights of ``model``."""
        step = int(self.steps)  # kept on the CPU
        if step % self.interval == 0:
            source = model.state_dict() if self.update_buffers else dict(model.named_parameters())
            averages, latest = [], []
            for name, average in self.avg_parameters.items():
                if average.is_floating_point():
                    averages.append(average.data)
                    latest.append(source[name].data)
                else:
                    average.copy_(source[name])
            momentum = max(self.momentum, self.gamma / (self.gamma + step)) if step else 1.0
            torch._foreach_lerp_(averages, latest, momentum)
        if not self.update_buffers:
            for kept, buffer in zip(self.module.buffers(), model.buffers()):
                kept.copy_(buffer)
        self.steps += 1
