"""SnAG (Mu, Mo and Li, "SnAG: Scalable and Accurate Video Grounding", CVPR 2024)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demul_mm.models.layers import Dropout, masked_softmax
from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer
from demul_mm.models.task_modules import PointGenerator
from demul_mm.models.task_modules.points import PyramidPoints
from demul_mm.registry import MODELS


class LateFusion(nn.Module):
    """Each cell reads the words, and what it read scales and shifts it.

    Args:
        dim: width.
        num_heads: heads of the attention.
        dropout: rate on the feed-forward net.
    """

    def __init__(self, dim: int, num_heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.modulate = nn.Linear(dim, 2 * dim)
        self.ffn = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(4 * dim, dim),
        )

    def forward(self, x: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """``x (Q, M, D)``, ``words (Q, L, D)``, ``word_mask (Q, L)``."""
        plain = self.norm(x)
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(plain), *self.key_value(words).chunk(2, -1))
        )
        logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (Q, H, M, L)
        weight = masked_softmax(logits.float(), word_mask[:, None, None]).to(value.dtype)
        scale, shift = self.modulate((weight @ value).transpose(1, 2).flatten(2)).chunk(2, -1)
        x = x + plain * scale + shift
        return x + self.ffn(x)


class PyramidHead(nn.Module):
    """Convolutions that all levels share.

    Args:
        dim: width.
        out_dim: values of each cell.
        num_layers: convolutions before the last.
    """

    def __init__(self, dim: int, out_dim: int, num_layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=1) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_layers))
        self.last = nn.Conv1d(dim, out_dim, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor, sizes: Sequence[int]) -> Tensor:
        """``x (Q, M, D)``, ``mask (Q, M)``, cells of each level: ``(Q, M, out_dim)``."""
        levels = []
        for cells, valid in zip(x.split(sizes, 1), mask[..., None].split(sizes, 1)):
            for layer, norm in zip(self.layers, self.norms):
                cells = F.relu(norm(layer((cells * valid).transpose(1, 2)).transpose(1, 2)))
            levels.append(self.last((cells * valid).transpose(1, 2)).transpose(1, 2))
        return torch.cat(levels, 1)


class PyramidOutput(NamedTuple):
    """What is said of the ``M`` cells of each query's video."""

    logits: Tensor  # (Q, M)
    distance: Tensor  # (Q, M, 2) from the cell's centre to start and end, in strides


def assign_in_range(
    points: PyramidPoints,
    mask: Tensor,
    spans: Tensor,
    span_mask: Tensor,
    radius: float,
    reach: float,
) -> tuple[Tensor, Tensor]:
    """Cells near the middle of a moment, at the level whose range its farther border is in.

    Args:
        points: the ``M`` cells, in clips.
        mask: ``(Q, M)``.
        spans: ``(Q, G, 2)`` in clips.
        span_mask: ``(Q, G)``.
        radius: how many strides a cell may be off the middle.
        reach: strides to the farther border that the finest level takes on; each level takes on
            what is above the one below, the last has no limit.

    Returns:
        positive ``(Q, M)``, and the moment of each cell ``(Q, M, 2)``: the shortest of several.
    """
    if not spans.shape[1]:
        return mask & False, torch.zeros_like(mask, dtype=spans.dtype)[..., None].expand(-1, -1, 2)
    start, end = spans[:, :, None].unbind(-1)  # (Q, G, 1)
    center, stride = points.centers, points.strides
    farther = torch.maximum(center - start, end - center)  # (Q, G, M)
    low = torch.where(points.levels == 0, 0.0, stride * reach / 2)
    high = torch.where(points.levels == points.levels[-1], torch.inf, stride * reach)
    near = (center - (start + end) / 2).abs() <= radius * stride
    fits = near & (center > start) & (center < end) & (farther > low) & (farther <= high)
    length = (end - start).masked_fill(~(fits & span_mask[..., None] & mask[:, None]), torch.inf)
    shortest, owner = length.min(1)  # (Q, M)
    return shortest.isfinite(), spans.gather(1, owner[..., None].expand(-1, -1, 2))


@MODELS.register_module()
class SnAG(OwnVideoLocalizer):
    """A pyramid of the video alone, into whose cells the words are fused late.

    A video is encoded once for all its sentences, in training too.

    Args:
        language: config of a :class:`WordProjection` or alike, of width ``dim``.
        streams: see :class:`OwnVideoLocalizer`.
        tower: config of the tower over the clips; ``in_dim`` is filled in.
        pyramid: config of the pyramid.
        dim: width of all of them.
        num_fusion: fusion layers.
        radius, reach: see :func:`assign_in_range`.
        label: config of the loss that tells which cells hold a moment.
        border: config of the loss of borders.
        test_cfg, data_preprocessor, init_cfg: see :class:`OwnVideoLocalizer`.
    """

    def __init__(
        self,
        language: dict,
        streams: dict,
        tower: dict,
        pyramid: dict,
        dim: int = 128,
        num_fusion: int = 2,
        radius: float = 1.5,
        reach: float = 4.0,
        label: dict | None = None,
        border: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(language, streams, test_cfg, data_preprocessor, init_cfg)
        self.tower = MODELS.build(dict(tower, in_dim=self.in_dim))
        self.pyramid = MODELS.build(pyramid)
        self.points = PointGenerator(self.pyramid.num_levels)
        self.fusion = nn.ModuleList(LateFusion(dim) for _ in range(num_fusion))
        self.label_head = PyramidHead(dim, 1)
        self.border_head = PyramidHead(dim, 2)
        nn.init.constant_(self.label_head.last.get_parameter('bias'), -4.6)  # one cell in a hundred
        self.radius = radius
        self.reach = reach
        self.label_loss = MODELS.build(label or dict(type='QualityFocalLoss'))
        self.border_loss = MODELS.build(border or dict(type='SpanDIoULoss'))

    def run(self, batch: OwnVideoBatch) -> PyramidOutput:
        cells, valid = self.pyramid(self.tower(batch.clips, batch.mask), batch.mask)
        x, mask = cells[batch.owner], valid[batch.owner]
        for layer in self.fusion:
            x = layer(x, batch.text.features, batch.text.mask)
        sizes = self.points.level_sizes(batch.mask.shape[1])
        logits = self.label_head(x, mask, sizes).squeeze(-1)
        return PyramidOutput(logits, F.softplus(self.border_head(x, mask, sizes).float()))

    def geometry(self, batch: OwnVideoBatch) -> tuple[PyramidPoints, Tensor, Tensor]:
        """The cells, which of them are valid ``(Q, M)``, and the clips of each video ``(Q,)``."""
        points = self.points(batch.mask.shape[1], batch.mask.device)
        number = batch.mask.sum(1)
        return points, points.valid(number)[batch.owner], number[batch.owner]

    def borders(self, distance: Tensor, points: PyramidPoints) -> Tensor:
        """Start and end in clips, of distances in strides ``(Q, M, 2)``."""
        away = distance * points.strides[:, None]
        center = points.centers
        return torch.stack([center - away[..., 0], center + away[..., 1]], -1)

    def loss_by_feat(
        self, out: PyramidOutput, batch: OwnVideoBatch, spans: Tensor, span_mask: Tensor
    ) -> dict[str, Tensor]:
        points, mask, number = self.geometry(batch)
        truth = spans * number[:, None, None]
        positive, own = assign_in_range(points, mask, truth, span_mask, self.radius, self.reach)
        count = positive.sum().clamp(min=1)
        found = self.borders(out.distance, points)
        return dict(
            loss_label=self.label_loss(out.logits, positive.float(), mask, count),
            loss_border=self.border_loss(found, own, positive.float(), count),
        )

    def predict_by_feat(
        self, out: PyramidOutput, batch: OwnVideoBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        points, mask, number = self.geometry(batch)
        spans = self.borders(out.distance, points) / number[:, None, None]
        return spans, out.logits.sigmoid(), mask
