"""The one place that touches mmaction2 and mmengine themselves."""

from demul_mm.adapters.mmaction import apply_mmaction_adapter
from demul_mm.adapters.mmengine import apply_mmengine_adapter

__all__ = ['apply_mmaction_adapter', 'apply_mmengine_adapter']
