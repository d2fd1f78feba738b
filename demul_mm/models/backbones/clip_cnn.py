"""A small convolutional encoder of short clips, fast on a CPU."""

import math

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from demul_mm.registry import MODELS


@MODELS.register_module()
class ClipCNN(BaseModule):
    """Raw frames of a clip to one vector that says what is in it and how it moves.

    The first convolution sees all frames of a clip at once, as their mean and their successive
    differences, and so colour, shape, direction and change of size arrive in the same cell of the
    map. Each cell becomes a unit vector, and the clip's features are how strongly the cell that
    fits best responds to each of ``d`` prototypes (of sentences, where ``tools/pretrain_backbone``
    made them): what belongs to one object stays together, where an average over the picture would
    mix it with other objects.

    Args:
        num_frames: t, frames of a clip.
        out_dim: d, prototypes.
        embed_dim: width of the cells' vectors.
        widths: channels of the convolutions, which look at a 4th, an 8th and an 8th of the
            resolution.
        sharpness: factor in the soft maximum over cells.
        init_cfg: as in mmengine, e.g. ``dict(type='Pretrained', checkpoint='backbone.pth')``.
    """

    def __init__(
        self,
        num_frames: int = 4,
        out_dim: int = 256,
        embed_dim: int = 64,
        widths: tuple[int, int, int] = (64, 96, 128),
        sharpness: float = 15.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_frames = num_frames
        self.out_dim = out_dim
        self.embed_dim = embed_dim
        self.sharpness = sharpness
        a, b, c = widths
        self.stem = nn.Conv2d(3 * num_frames, a, 6, stride=4, padding=1, bias=False)
        self.trunk = nn.Sequential(
            nn.BatchNorm2d(a),
            nn.ReLU(inplace=True),
            *_block(a, b, 3, stride=2),
            *_block(b, c, 3),
            *_block(c, c, 1),
            nn.Conv2d(c, embed_dim, 1),
        )
        self.prototypes = nn.Parameter(F.normalize(torch.randn(out_dim, embed_dim), dim=1))
        # A response's mean and deviation over the clips of the training split.
        self.register_buffer('mean', torch.zeros(out_dim))
        self.register_buffer('std', torch.ones(out_dim))
        self.register_buffer('mix', _mean_and_differences(num_frames), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips ``(B, 3, t, H, W)``, pixels 0 to 255 of any type, to features ``(B, d)``."""
        responses = best_response(self.prototypes, self.embed(clips), self.sharpness).T
        return (responses - self.mean) / self.std

    def embed(self, clips: Tensor) -> Tensor:
        """Clips to the unit vectors of their ``S`` cells, ``(B, E, S)``."""
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[2] != self.num_frames:
            raise ValueError(
                f'clips have shape {tuple(clips.shape)}; expected '
                f'(B, 3, {self.num_frames}, H, W): set frames_per_clip of the decoder and '
                'num_frames of ClipCNN alike'
            )
        kind = clips.device.type
        amp = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if amp else self.stem.weight.dtype
        x = clips.flatten(1, 2).to(dtype=dtype, memory_format=torch.channels_last)  # (B, 3 t, H, W)
        x = self.trunk(F.conv2d(x, self._stem_weight(), stride=4, padding=1))
        return F.normalize(x.float().flatten(2), dim=1)  # (B, E, H / 8 * W / 8)

    def _stem_weight(self) -> Tensor:
        """The weight over frames of a weight over their mean and differences.

        Changing the weight instead of the frames saves several passes over all pixels.
        """
        weight = self.stem.weight.unflatten(1, (3, self.num_frames))
        weight = torch.einsum('octhw,ts->ocshw', weight, self.mix)
        return weight.flatten(1, 2).contiguous(memory_format=torch.channels_last)


def best_response(queries: Tensor, cells: Tensor, sharpness: float | Tensor) -> Tensor:
    """Soft maximum over the cells of a clip of the cosine with each query.

    Args:
        queries: ``(Q, E)``, of any length.
        cells: ``(B, E, S)`` unit vectors.
        sharpness: 1 over the temperature of the soft maximum.

    Returns:
        ``(Q, B)``: the cosine itself where all cells agree.
    """
    cosine = torch.einsum('qe,bes->qbs', F.normalize(queries.float(), dim=1), cells)
    return ((sharpness * cosine).logsumexp(2) - math.log(cells.shape[2])) / sharpness


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def _mean_and_differences(frames: int) -> Tensor:
    """(t, t): row 0 averages the frames, row k is the difference of frames k and k - 1.

    Pixels come out in units of a typical contrast, differences a few times larger, since they are
    small where something moves slowly.
    """
    mix = torch.zeros(frames, frames)
    mix[0] = 1 / frames / 64
    for k in range(1, frames):
        mix[k, k], mix[k, k - 1] = 1 / 20, -1 / 20
    return mix
