"""Samplers of data sets."""

from demul_mm.datasets.samplers.grouped import HardVideoSampler
from demul_mm.datasets.samplers.seeded import SeededIndex, SeededSampler

__all__ = ['HardVideoSampler', 'SeededIndex', 'SeededSampler']
