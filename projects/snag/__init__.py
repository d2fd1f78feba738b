"""SnAG."""

from projects.moment_detr import WordProjection
from projects.snag.model import SnAG

__all__ = ['SnAG', 'WordProjection']
