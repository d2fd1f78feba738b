"""The semantic decoupler: splits each modality into a shared and a private part."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from demul_mm.models.layers import Dropout, masked_softmax
from demul_mm.registry import MODELS


class _Decoupled(nn.Module):
    """The layers of one modality: into the shared space, to its private part, and back together."""

    def __init__(self, dim: int, shared_dim: int, private_dim: int, dropout: float) -> None:
        super().__init__()
        self.adapt = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), Dropout(dropout)
        )
        self.private = (
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, private_dim)) if private_dim else None
        )
        self.recombine = nn.Linear(shared_dim + private_dim, dim)
        self.norm = nn.LayerNorm(dim)


class Centring(nn.Module):
    """Brings the vectors of a modality to unit length, without the mean of each level.

    In training that is the batch's own, through which gradients flow, as in batch normalisation;
    the running means are used at test and for batches of one.

    Args:
        momentum: share of the new in the running means; 0: no mean is taken off.
    """

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum

    def forward(
        self,
        x: Tensor,
        means: Tensor,
        mask: Tensor | None = None,
        level_sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Unit vectors ``(V, M, S)``.

        Args:
            x: ``(V, M, S)``.
            means: ``(L, S)`` running means, which training moves.
            mask: ``(V, M)`` what counts for the means; None: all.
            level_sizes: vectors of each level, ``M`` in all; None: all are of one.
        """
        if not self.momentum:
            return F.normalize(x, dim=-1)
        sizes = [x.shape[1]] if level_sizes is None else list(level_sizes)
        if self.training:
            keep = x.new_ones(x.shape[:2]) if mask is None else mask.to(x.dtype)
            sums = (x * keep[..., None]).sum(0).split(sizes)
            numbers = torch.stack([n.sum() for n in keep.sum(0).split(sizes)])[:, None]
            now = torch.stack([s.sum(0) for s in sums]) / numbers.clamp(min=1)
            with torch.no_grad():
                average = now.detach().clone()
                all_reduce(average, op='mean')  # the same means for all ranks
                means.lerp_(average, self.momentum)
            # A single vector minus its own mean is zero.
            means = torch.where(numbers > 1, now, means)
        return F.normalize(x - torch.cat([m.expand(n, -1) for m, n in zip(means, sizes)]), dim=-1)


@MODELS.register_module()
class SemanticDecoupler(nn.Module):
    """Split each modality into a shared and a private part.

    The shared part goes through one projector common to all modalities and is a unit vector: the
    similarity of a query and a moment is their inner product. Both parts together make the features
    that fusion sees.

    Args:
        dim: width ``D``.
        shared_dim: ``S``.
        private_dim: ``P``; 0 for no private part.
        streams: names of the video's streams, each a modality beside language.
        dropout: rate on the way into the shared space.
        bypass: whether the features that fusion sees also hold what came in, beside both parts.
            Without it the two parts have to carry everything, each its own share.
        momentum: share of the new in the running means of the queries and of each level of the
            pyramid in the shared space, which are taken off before its vectors are brought to unit
            length; 0 for none. ``SharedMeansHook`` puts exact ones in their place. What tells the
            modalities apart there is little more than the difference of these means (Liang et al.,
            "Mind the Gap", 2022), and what tells a level from another is the larger part of it.
        num_levels: levels of the pyramid.
    """

    video_means: Tensor
    query_means: Tensor

    def __init__(
        self,
        dim: int = 128,
        shared_dim: int = 128,
        private_dim: int = 64,
        streams: tuple[str, ...] = ('visual',),
        dropout: float = 0.1,
        bypass: bool = True,
        momentum: float = 0.0,
        num_levels: int = 1,
    ) -> None:
        super().__init__()
        self.shared_dim = shared_dim
        self.private_dim = private_dim
        self.bypass = bypass
        self.centring = Centring(momentum)
        self.register_buffer('video_means', torch.zeros(num_levels, shared_dim))
        self.register_buffer('query_means', torch.zeros(1, shared_dim))
        self.projector = nn.Linear(dim, shared_dim)
        self.streams = nn.ModuleDict(
            {name: _Decoupled(dim, shared_dim, private_dim, dropout) for name in streams}
        )
        self.language = _Decoupled(dim, shared_dim, private_dim, dropout)
        # How much each stream counts in the query-free moment vector; one alone needs no weight.
        weights = torch.zeros(len(streams))
        self.stream_logit = nn.Parameter(weights) if len(streams) > 1 else None

    def encode_streams(
        self,
        streams: dict[str, Tensor],
        stream_mask: Tensor,
        mask: Tensor | None = None,
        level_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decouple the pyramid of each stream.

        Args:
            streams: ``{name: (V, M, D)}`` in the order of ``self.streams``.
            stream_mask: ``(V, N)``.
            mask: ``(V, M)`` the cells that count for the running means; None: all.
            level_sizes: cells of each level, ``M`` in all; None: all are of one.

        Returns:
            features ``(V, N, M, D)``, private ``(V, N, M, P)``, and the shared unit vectors of all
            streams together ``(V, M, S)``.
        """
        features, privates, shareds = [], [], []
        for name, part in self.streams.items():
            assert isinstance(part, _Decoupled)
            shared, private = self._split(part, streams[name])
            residual = part.recombine(torch.cat([shared, private], -1))
            features.append(part.norm(streams[name] + residual if self.bypass else residual))
            privates.append(private)
            shareds.append(shared)
        if self.stream_logit is not None:
            weight = masked_softmax(self.stream_logit.expand_as(stream_mask), stream_mask, 1)
            shared = torch.einsum('vn,vnms->vms', weight, torch.stack(shareds, 1).float())
        else:
            shared = shareds[0]
        shared = self.centring(shared.float(), self.video_means, mask, level_sizes)
        return torch.stack(features, 1), torch.stack(privates, 1), shared

    def encode_language(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x (..., D)`` to shared unit vectors ``(..., S)`` and private ``(..., P)``."""
        shared, private = self._split(self.language, x)
        rows = shared.float()
        return self.centring(rows.flatten(0, -2)[:, None], self.query_means).view_as(rows), private

    def recombine_language(self, x: Tensor, shared: Tensor, private: Tensor) -> Tensor:
        """Language features ``(..., D)`` for fusion, from both parts."""
        both = torch.cat([shared.to(private.dtype), private], -1)
        residual = self.language.recombine(both)
        return self.language.norm(x + residual if self.bypass else residual)

    def freeze_sentence(self) -> None:
        """Do not train what nothing reads where fusion has no use for the sentence's own vector.

        DDP waits for a gradient of every weight that is trained.
        """
        self.language.recombine.requires_grad_(False)
        self.language.norm.requires_grad_(False)

    def _split(self, part: _Decoupled, x: Tensor) -> tuple[Tensor, Tensor]:
        private = x[..., :0] if part.private is None else part.private(x)
        return self.projector(part.adapt(x)), private
