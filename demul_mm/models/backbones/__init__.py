"""Encoders: frames, clip features, language."""

from demul_mm.models.backbones.frame_encoder import FrameEncoder
from demul_mm.models.backbones.language import LanguageEncoder, TransformersLM
from demul_mm.models.backbones.temporal_tower import TemporalTower

__all__ = ['FrameEncoder', 'LanguageEncoder', 'TemporalTower', 'TransformersLM']
