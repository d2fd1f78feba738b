"""SnAG."""

from projects.snag.model import SnAG

__all__ = ['SnAG']
