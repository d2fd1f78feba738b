"""The one place that touches mmaction2."""

from demul_mm.adapters.mmaction import apply_mmaction_adapter

__all__ = ['apply_mmaction_adapter']
