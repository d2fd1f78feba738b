"""Optimizer wrappers."""

from demul_mm.engine.optim.autocast_optim_wrapper import AutocastOptimWrapper

__all__ = ['AutocastOptimWrapper']
