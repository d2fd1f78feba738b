"""From frames to clip features, through any backbone of another package."""

import torch
from torch import Tensor, nn

from demul_mm.packed_linear import pack_linear
from demul_mm.registry import MODELS


@MODELS.register_module()
class FrameEncoder(nn.Module):
    """Turn each clip of frames into one feature vector.

    Args:
        backbone: config of a module that maps ``(B, 3, t, H, W)`` to ``(B, d)`` or to a feature map
            ``(B, d, ...)``, which is averaged; e.g. ``mmaction.ResNet3dSlowOnly``. A 2-D backbone
            that maps ``(B, 3, H, W)`` is applied to each frame with ``per_frame=True``.
        mean: per channel, subtracted from pixels in [0, 255].
        std: per channel, divided by.
        per_frame: apply the backbone to single frames and average over a clip's ``t``.
        frozen: keep the backbone's weights and statistics as they are.
        chunk_size: clips encoded at once; bounds the memory of a long video.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: dict,
        mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
        std: tuple[float, float, float] = (58.395, 57.12, 57.375),
        per_frame: bool = False,
        frozen: bool = False,
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.per_frame = per_frame
        self.frozen = frozen
        self.chunk_size = chunk_size
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1, 1), persistent=False)
        if frozen:
            pack_linear(self.backbone.requires_grad_(False))

    def init_weights(self) -> None:
        """Load what the backbone's own ``pretrained`` or ``init_cfg`` names."""
        if hasattr(self.backbone, 'init_weights'):
            self.backbone.init_weights()

    def train(self, mode: bool = True) -> 'FrameEncoder':
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, clips: list[Tensor]) -> list[Tensor]:
        """Clips ``(T_v, 3, t, H, W)`` of each video, pixels in [0, 255], to ``(T_v, d)`` each."""
        lengths = [len(c) for c in clips]
        flat = torch.cat(clips)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = [self._encode(chunk) for chunk in flat.split(self.chunk_size)]
        return list(torch.cat(features).split(lengths))

    def _encode(self, x: Tensor) -> Tensor:
        x = (x.float() - self.mean) / self.std  # (B, 3, t, H, W)
        batch, _, frames = x.shape[:3]
        x = self.backbone(x.transpose(1, 2).flatten(0, 1) if self.per_frame else x)
        x = x[-1] if isinstance(x, tuple) else x
        x = x.flatten(2).mean(2) if x.ndim > 2 else x  # (B, d), or (B * t, d) per frame
        return x.view(batch, frames, -1).mean(1) if self.per_frame else x
