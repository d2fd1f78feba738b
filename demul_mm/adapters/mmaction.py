"""Make mmaction2 1.2.0 usable beside current releases of what it depends on.

``import mmaction.models`` fails out of the box, for three reasons:

* its wheel and sdist lack ``mmaction/models/localizers/drn``, which it imports
  (open-mmlab/mmaction2#2714);
* where DRN is present, its loss imports torchvision at load, for one function;
* its VindLU imports names that transformers >= 4.57 no longer has.

``apply_mmaction_adapter`` installs an import hook that heals all three at the moment somebody
imports ``mmaction.models``, and costs nothing before.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

MODELS_MODULE = 'mmaction.models'
DRN_MODULE = 'mmaction.models.localizers.drn'
HOW_TO_GET_DRN = (
    'mmaction2 1.2.0 was published without its DRN localizer '
    '(open-mmlab/mmaction2#2714). Get it with: pip install "demul-mm[drn]"'
)


def apply_mmaction_adapter() -> None:
    """Heal ``mmaction.models`` whenever it is imported, by whomever; calling twice changes nothing.

    ``import demul_mm`` calls it, so a config of another scope needs only
    ``custom_imports = dict(imports=['demul_mm'])``.
    """
    if not any(isinstance(finder, _ModelsFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ModelsFinder())


class _ModelsFinder(MetaPathFinder):
    """Finds ``mmaction.models`` as usual, and has it executed by ``_HealingLoader``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MODELS_MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _HealingLoader(spec.loader)
        return spec


class _HealingLoader(Loader):
    """Executes ``mmaction.models`` with its faults healed."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module looks as if it had never passed through this hook.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        # VindLU is the one user of this switch; mmaction2 then registers placeholders for it.
        importlib.import_module('mmaction.utils.dependency').WITH_MULTIMODAL = False  # type: ignore[attr-defined]
        if not _has_drn(module):
            _stand_in_for_drn()
            self.loader.exec_module(module)
        elif _imports('torchvision'):
            self.loader.exec_module(module)
        else:
            with _torchvision_stand_in():
                self.loader.exec_module(module)


def _has_drn(models: ModuleType) -> bool:
    localizers = [str(Path(folder) / 'localizers') for folder in models.__path__]
    return PathFinder.find_spec(DRN_MODULE, localizers) is not None


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):  # RuntimeError: torchvision built for another torch
        return False
    return True


def _stand_in_for_drn() -> None:
    """Put an empty DRN where ``mmaction.models.localizers`` looks for it, and register it."""

    class DRN:
        """Stands where mmaction2's DRN belongs and says how to get it."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            raise ImportError(HOW_TO_GET_DRN)

    package = ModuleType(DRN_MODULE, HOW_TO_GET_DRN)
    package.__path__ = []
    module = ModuleType(f'{DRN_MODULE}.drn', HOW_TO_GET_DRN)
    module.DRN = package.DRN = DRN  # type: ignore[attr-defined]
    package.drn = module  # type: ignore[attr-defined]
    sys.modules[package.__name__] = package
    sys.modules[module.__name__] = module
    models = importlib.import_module('mmaction.registry').MODELS
    models.register_module(name='DRN', module=DRN, force=True)


@contextmanager
def _torchvision_stand_in() -> Iterator[None]:
    """A torchvision with the one function that DRN's loss calls, while the context lasts.

    DRN's module keeps its own reference, so the loss works afterwards; ``sys.modules`` does not,
    so nobody else takes torchvision for installed. transformers looks for it once, hence first.
    """
    importlib.import_module('transformers').utils.is_torchvision_available()
    torchvision = ModuleType('torchvision')
    torchvision.ops = ModuleType('torchvision.ops')  # type: ignore[attr-defined]
    torchvision.ops.sigmoid_focal_loss = importlib.import_module(
        'demul_mm.adapters.focal'
    ).sigmoid_focal_loss
    stand_ins = {'torchvision': torchvision, 'torchvision.ops': torchvision.ops}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
