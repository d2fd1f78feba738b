"""Dropout whose random numbers cost less than what they drop."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """``nn.Dropout`` that draws one byte for each value on the CPU.

    torch draws a float there, which takes a tenth of a training step; eight bytes come with each
    64-bit number. The rate is rounded to a multiple of 1/256. Other devices take torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * 256)
        if not self.training or not dropped or dropped == 256 or x.device.type != 'cpu':
            return super().forward(x)
        numbers = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 8),))
        bytes_ = numbers.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * ((bytes_ >= dropped).to(x.dtype) * (256 / (256 - dropped)))
