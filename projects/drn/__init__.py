"""DRN of MMAction2; see README.md."""

from projects.drn.model import GroundedDRN

__all__ = ['GroundedDRN']
