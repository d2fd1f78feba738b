"""Clip features of video files, for models that take features."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from demul_mm.device import choose_device
from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.files import file_state
from demul_mm.models.backbones import FrameEncoder
from demul_mm.packed_linear import pack_linear
from demul_mm.precision import autocast
from demul_mm.registry import MODELS
from demul_mm.retrieval.encoding_cache import hash_of
from demul_mm.video.clips import stream_features

# Called with the share of a video that is done.
Progress = Callable[[float], None]


class Backbone(NamedTuple):
    """A model that turns clips into features.

    Attributes:
        model: in eval mode, on the device.
        clips: how clips are cut, arguments of :func:`iter_clips`.
        provenance: where both come from.
        device: where the model runs.
    """

    model: nn.Module
    clips: dict[str, Any]
    provenance: dict[str, Any]
    device: str

    @torch.inference_mode()
    def encode(self, clips: np.ndarray | torch.Tensor) -> np.ndarray:
        """Features ``(n, d)`` float32 of clips ``(n, 3, t, H, W)`` uint8."""
        with autocast('auto', self.device):
            clips = torch.as_tensor(clips).to(self.device)
            whole = isinstance(self.model, FrameEncoder)
            features = self.model([clips])[0] if whole else self.model(clips)
        if features.ndim > 2:
            features = features.flatten(2).mean(2)
        return features.float().cpu().numpy()

    def width(self) -> int:
        """d, found by encoding a black clip."""
        size = self.clips['size']
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        frames = self.clips['frames_per_clip']
        return self.encode(torch.zeros(1, 3, frames, height, width, dtype=torch.uint8)).shape[1]


def make_backbone(
    backbone: Mapping[str, Any],
    clips: Mapping[str, Any],
    checkpoint: str | Path | None,
    content: Mapping[str, Any] | None,
    device: str | torch.device | None,
    provenance: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build a backbone and load its weights.

    Args:
        backbone: its config; a :class:`FrameEncoder` around it, or a recognizer, will do.
        clips: see :class:`Backbone`.
        checkpoint: the file that ``content`` is from, for errors.
        content: of a checkpoint; None: the weights that the config itself names, if any.
        device: where it runs; None: a GPU where there is one.
        provenance: see :class:`Backbone`.

    Raises:
        ValueError: the weights are of another backbone.
    """
    place = choose_device(device)
    model = MODELS.build(dict(backbone))
    if content is not None:
        _load_weights(model, content.get('state_dict', content), str(checkpoint))
    elif hasattr(model, 'init_weights'):
        model.init_weights()
    model = pack_linear(model.to(place).eval())
    return Backbone(model, dict(clips), dict(provenance or {}), str(place))


def _load_weights(model: nn.Module, weights: Mapping[str, Any], name: str) -> None:
    """Load weights of the backbone, of a FrameEncoder around it, or of a recognizer."""
    target = model.backbone if isinstance(model, FrameEncoder) else model
    assert isinstance(target, nn.Module)
    inner = {k.removeprefix('backbone.'): v for k, v in weights.items() if 'cls_head' not in k}
    result = target.load_state_dict(inner, strict=False)
    if result.missing_keys:
        raise ValueError(
            f'{name} lacks {len(result.missing_keys)} weights of {type(target).__name__} '
            f'({result.missing_keys[0]}, ...): give the checkpoint that belongs to the config'
        )


class FeatureExtractor:
    """Makes the features that ``tools/extract_features.py`` makes, of one video file at a time.

    In a config, ``extractor = dict(checkpoint=...)`` lets the inferencers read video files.

    Args:
        checkpoint: weights of the backbone; one of ``tools/pretrain_backbone.py`` also says what
            the backbone and the clips are. Or a config file, ``.py``, that says these two, of a
            backbone that finds its weights itself.
        backbone: config of the backbone, if the checkpoint does not say.
        clips: how clips are cut, arguments of :func:`iter_clips`, if the checkpoint does not say.
        device: where it runs; None: a GPU where there is one.

    Attributes:
        fingerprint: another text for another checkpoint, backbone or way of cutting clips.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, or it does not say or fit enough.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        backbone: Mapping[str, Any] | None = None,
        clips: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if Path(checkpoint).suffix == '.py':
            content, meta = None, Config.fromfile(checkpoint).to_dict()
        else:
            content = read_checkpoint(checkpoint)
            meta = content.get('meta') or {}
        backbone, clips = backbone or meta.get('backbone'), clips or meta.get('clips')
        if not backbone or not clips:
            raise ValueError(
                f'{checkpoint} does not say what its backbone and clips are; give backbone=dict('
                'type=...) and clips=dict(clip_seconds=..., ...) to the extractor'
            )
        made = make_backbone(backbone, clips, checkpoint, content, device)
        self.backbone, self.clips = dict(backbone), dict(clips)
        self.fingerprint = hash_of([file_state(checkpoint), self.backbone, self.clips])
        self.model, self._encode = made.model, made.encode

    def __call__(
        self, path: str | Path, progress: Progress | None = None
    ) -> tuple[np.ndarray, float]:
        """Features ``(T, d)`` float32 of a video file, and its seconds, which they cover.

        Args:
            path: the file.
            progress: called with the share of it that is done.
        """
        return stream_features(str(path), self.clips, self._encode, progress)
