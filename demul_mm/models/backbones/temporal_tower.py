"""From the features of one stream to contextual clip features."""

from torch import Tensor, nn

from demul_mm.models.layers import Dropout, TemporalBlock, relative_position
from demul_mm.registry import MODELS


@MODELS.register_module()
class TemporalTower(nn.Module):
    """Normalise and project the features of one stream, then mix neighbouring clips.

    One tower serves one stream (visual, subtitle, audio). Cost is linear in the number of clips,
    and there is no limit on it: attention is windowed and positions are relative.

    Args:
        in_dim: width of the stream's features.
        dim: model width ``D``.
        depth: temporal blocks.
        num_heads: attention heads.
        radius: attention window to either side, in clips.
        dropout: rate on the input features and inside the blocks.
        num_bands: frequencies of the relative position in the video; 0 for none.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int = 128,
        depth: int = 1,
        num_heads: int = 4,
        radius: int = 8,
        dropout: float = 0.1,
        num_bands: int = 8,
    ) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.num_bands = num_bands
        self.norm = nn.LayerNorm(in_dim)
        self.project = nn.Linear(in_dim, dim)
        self.position = nn.Linear(2 * num_bands, dim) if num_bands else None
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TemporalBlock(dim, num_heads, radius, dropout=dropout) for _ in range(depth)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (V, T, in_dim)`` and ``mask (V, T)`` to ``(V, T, D)``, zeros where masked.

        Where no video of the batch has the stream, ``x`` may be ``(V, T, 0)``.
        """
        if not x.shape[-1]:
            x = x.new_zeros(*x.shape[:2], self.in_dim)
        if x.shape[-1] != self.in_dim:
            raise ValueError(
                f'the features have {x.shape[-1]} dimensions, the model was built for '
                f'{self.in_dim}: set in_dim={x.shape[-1]} of its stream '
                '(model.streams.NAME.in_dim, or the feature_dim in the file that it is taken from)'
            )
        x = self.project(self.dropout(self.norm(x)))  # (V, T, D)
        if self.position is not None:
            x = x + self.position(relative_position(mask.sum(1), x.shape[1], self.num_bands))
        x = x * mask[..., None].to(x.dtype)
        for block in self.blocks:
            x = block(x, mask)
        return x
