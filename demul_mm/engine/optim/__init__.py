"""Optimizer wrappers."""

from demul_mm.engine.optim.autocast_optim_wrapper import AutocastOptimWrapper
from demul_mm.engine.optim.muon import MuonAdamW

__all__ = ['AutocastOptimWrapper', 'MuonAdamW']
