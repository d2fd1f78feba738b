"""TALL's CTRL."""

from projects.ctrl.model import CTRL

__all__ = ['CTRL']
