"""SimBase."""

from projects.simbase.model import SimBase

__all__ = ['SimBase']
