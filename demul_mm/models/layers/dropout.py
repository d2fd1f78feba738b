"""Dropout of sequences."""

from torch import Tensor, nn


class ChannelDropout(nn.Dropout):
    """Drop channels of a whole sequence: one draw holds for all of its positions.

    What a channel says at one clip its neighbours say as well, so dropping single positions hides
    little (Tompson et al., "Efficient Object Localization", CVPR 2015, section 3.2); and drawing a
    number for each position is a sixth of the cost of encoding a video on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, ..., D)``: a draw for each of ``N * D``."""
        if not self.training or not self.p:
            return x
        keep = x.new_empty(len(x), *(1 for _ in x.shape[1:-1]), x.shape[-1])
        return x * keep.bernoulli_(1 - self.p).div_(1 - self.p)
