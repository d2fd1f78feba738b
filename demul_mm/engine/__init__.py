"""Training and testing: hooks, loops, optimizer wrappers, and what the tools share."""

from demul_mm.engine import hooks, loops, optim

__all__ = ['hooks', 'loops', 'optim']
