"""Whole models."""

from demul_mm.models.localizers.base import MomentLocalizer
from demul_mm.models.localizers.demul import DeMUL
from demul_mm.models.localizers.own_video import OwnVideoBatch, OwnVideoLocalizer
from demul_mm.models.localizers.tta import MomentTTAModel

__all__ = ['DeMUL', 'MomentLocalizer', 'MomentTTAModel', 'OwnVideoBatch', 'OwnVideoLocalizer']
