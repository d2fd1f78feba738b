"""Prior over moment length, from training queries with similar text."""

import math

import torch
from torch import Tensor, nn

from demul_mm.registry import MODELS

# Logarithms of seconds at which the likelihood of a length is computed; linear between.
GRID = torch.linspace(math.log(0.25), math.log(7200.0), 256)
# A length that no like sentence has is this likely, where the likeliest is at most 1.
FLOOR = 1e-3


@MODELS.register_module()
class LengthMemory(nn.Module):
    """Remembers how many seconds the moments of the training queries last.

    A model over a fixed number of clips does not see seconds, though an action takes about as long
    in every video: opening a door does not take a minute. The lengths of the moments of training
    queries with similar text give a likelihood of each length, a Nadaraya-Watson estimate over the
    language model's sentence vectors::

        log sum_i softmax_i(cos(query, query_i) / temperature)
                  exp(-(log seconds - log seconds_i)^2 / 2 bandwidth^2)

    ``weight`` times that is added to the joint score of a candidate. Nothing is learned by gradient
    descent: :class:`~demul_mm.engine.hooks.LengthMemoryHook` fills the memory with the training
    queries and fits the weight on held-out videos. Until then it adds nothing.

    Args:
        caption_dim: width ``E`` of the sentences' vectors.
        size: how many moments it remembers at most.
        temperature: divisor of the cosine of two sentences; smaller listens to fewer of them.
        bandwidth: in which two lengths are alike, in logarithms of seconds.
    """

    captions: Tensor  # (size, E) unit vectors
    lengths: Tensor  # (size,) logarithms of seconds
    count: Tensor  # how many of them are filled
    weight: Tensor

    def __init__(
        self,
        caption_dim: int = 384,
        size: int = 4096,
        temperature: float = 0.05,
        bandwidth: float = 0.3,
    ) -> None:
        super().__init__()
        for name, value in (('temperature', temperature), ('bandwidth', bandwidth)):
            if not 0 < value < math.inf:
                raise ValueError(f'{name} is {value}; it must be positive')
        self.temperature = temperature
        self.bandwidth = bandwidth
        self.size = size
        self.register_buffer('captions', torch.zeros(size, caption_dim))
        self.register_buffer('lengths', torch.zeros(size))
        self.register_buffer('count', torch.tensor(0))
        self.register_buffer('weight', torch.tensor(0.0))

    @torch.no_grad()
    def fill(self, captions: Tensor, seconds: Tensor) -> None:
        """Remember these alone: ``(N, E)`` sentences and the ``(N,)`` seconds of their moments.

        ``N`` is at most ``size``, and seconds are positive.
        """
        number = len(seconds)
        self.captions[:number] = captions
        self.lengths[:number] = seconds.log()
        self.count.fill_(number)

    def forward(self, captions: Tensor, seconds: Tensor) -> Tensor:
        """What the lengths of candidates add to their scores.

        Args:
            captions: ``(R, E)`` unit vectors of the queries.
            seconds: ``(R, M)``.

        Returns:
            ``(R, M)``.
        """
        if not self.count:
            return torch.zeros_like(seconds)
        return self.weight * self.log_likelihood(captions, seconds)

    def log_likelihood(self, captions: Tensor, seconds: Tensor) -> Tensor:
        """The same before it is weighted."""
        number = int(self.count)
        alike = captions.float() @ self.captions[:number].T  # (R, N)
        share = (alike / self.temperature).softmax(1)
        grid = GRID.to(share)
        off = (grid - self.lengths[:number, None]) / self.bandwidth
        kernel = (-0.5 * off**2).exp()  # (N, G)
        likelihood = share @ kernel  # (R, G)
        step = (grid[-1] - grid[0]) / (len(grid) - 1)
        place = (seconds.float().clamp(min=1e-6).log() - grid[0]) / step
        place = place.clamp(0, len(grid) - 1)
        low = place.long().clamp(max=len(grid) - 2)
        below, above = likelihood.gather(1, low), likelihood.gather(1, low + 1)
        return (torch.lerp(below, above, place - low) + FLOOR).log()
