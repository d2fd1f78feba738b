"""Encoders: frames, clip features, language."""

from demul_mm.models.backbones.bare_words import BareWords
from demul_mm.models.backbones.clip_cnn import ClipCNN
from demul_mm.models.backbones.frame_encoder import FrameEncoder
from demul_mm.models.backbones.hashed_words import HashedWords
from demul_mm.models.backbones.image_text import TransformersImageEncoder
from demul_mm.models.backbones.language import LanguageEncoder
from demul_mm.models.backbones.language_model import TransformersLM
from demul_mm.models.backbones.stored_text import StoredSentences, StoredTokens
from demul_mm.models.backbones.temporal_tower import TemporalTower
from demul_mm.models.backbones.word_vectors import WordVectors

__all__ = [
    'BareWords',
    'ClipCNN',
    'FrameEncoder',
    'HashedWords',
    'LanguageEncoder',
    'StoredSentences',
    'StoredTokens',
    'TemporalTower',
    'TransformersImageEncoder',
    'TransformersLM',
    'WordVectors',
]
