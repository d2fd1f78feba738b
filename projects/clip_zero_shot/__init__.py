"""Moments without training; see README.md."""

from projects.clip_zero_shot.loop import IndexTestLoop
from projects.clip_zero_shot.model import ImageTextSentences, SentenceVectors, ZeroShot

__all__ = ['ImageTextSentences', 'IndexTestLoop', 'SentenceVectors', 'ZeroShot']
