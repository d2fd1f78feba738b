"""Whole models."""

from demul_mm.models.localizers.demul import DeMUL

__all__ = ['DeMUL']
