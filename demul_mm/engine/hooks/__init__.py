"""Hooks of the Runner."""

from demul_mm.engine.hooks.atomic_checkpoint import AtomicCheckpointHook
from demul_mm.engine.hooks.calibration import CalibrationHook
from demul_mm.engine.hooks.epoch_seed import EpochSeedHook

__all__ = ['AtomicCheckpointHook', 'CalibrationHook', 'EpochSeedHook']
