"""Moment-DETR."""

from projects.moment_detr.matcher import SetMatcher
from projects.moment_detr.model import MomentDETR
from projects.moment_detr.projection import WordProjection

__all__ = ['MomentDETR', 'SetMatcher', 'WordProjection']
