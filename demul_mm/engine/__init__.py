"""Training and testing: hooks, loops, optimizer wrappers."""

from demul_mm.engine import hooks, loops, optim

__all__ = ['hooks', 'loops', 'optim']
