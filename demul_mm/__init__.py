"""Find moments in videos from a sentence: DeMUL as a plugin for OpenMMLab's MMAction2."""

from demul_mm import registry
from demul_mm.adapters import apply_mmaction_adapter, apply_mmengine_adapter
from demul_mm.version import __version__

apply_mmaction_adapter()
apply_mmengine_adapter()

__all__ = ['__version__', 'registry']
