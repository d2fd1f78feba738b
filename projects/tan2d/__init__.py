"""2D-TAN and MMN."""

from projects.tan2d.mmn import MMN
from projects.tan2d.model import TAN2D

__all__ = ['MMN', 'TAN2D']
