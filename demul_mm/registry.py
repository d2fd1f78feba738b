"""The registries of ``demul_mm``.

Each is a child of the mmengine root registry of the same kind, so a config of any OpenMMLab
package can name a class of ours as ``demul_mm.DeMUL`` and a config of ours can name a class of
another package with its scope, as ``mmaction.ResNet3dSlowOnly``. The modules under ``locations``
are imported when something is first built from the registry.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine import registry as roots
from mmengine.registry import Registry

SCOPE = 'demul_mm'


class ScopedRegistry(Registry):
    """A registry whose ``build`` looks here first, whatever the config's default scope is.

    So the parts of ours that build parts of their own do so in a Runner of another package too,
    without ``demul_mm.`` before every inner type.
    """

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        with super().switch_scope_and_registry(scope or SCOPE) as registry:
            yield registry


def _child(parent: Registry, *locations: str) -> Registry:
    # A registry without modules of ours still needs a location, or mmengine guesses one.
    places = list(locations) or ['demul_mm']
    return ScopedRegistry(parent.name, parent=parent, scope=SCOPE, locations=places)


# Data: data sets, their samplers, the steps of a pipeline.
DATASETS = _child(roots.DATASETS, 'demul_mm.datasets')
DATA_SAMPLERS = _child(roots.DATA_SAMPLERS, 'demul_mm.datasets')
TRANSFORMS = _child(roots.TRANSFORMS, 'demul_mm.datasets')
# Where pre-extracted features are kept: folder, HDF5, packed.
FEATURE_STORES = ScopedRegistry('feature store', scope=SCOPE, locations=['demul_mm.datasets'])

# Models: every nn.Module, and what they are made of that has no parameters.
MODELS = _child(roots.MODELS, 'demul_mm.models')
TASK_UTILS = _child(roots.TASK_UTILS, 'demul_mm.models')
MODEL_WRAPPERS = _child(roots.MODEL_WRAPPERS, 'demul_mm.engine')
WEIGHT_INITIALIZERS = _child(roots.WEIGHT_INITIALIZERS)

# Training and testing.
RUNNERS = _child(roots.RUNNERS)
RUNNER_CONSTRUCTORS = _child(roots.RUNNER_CONSTRUCTORS)
LOOPS = _child(roots.LOOPS, 'demul_mm.engine')
HOOKS = _child(roots.HOOKS, 'demul_mm.engine')
LOG_PROCESSORS = _child(roots.LOG_PROCESSORS)
OPTIMIZERS = _child(roots.OPTIMIZERS, 'demul_mm.engine')
OPTIM_WRAPPERS = _child(roots.OPTIM_WRAPPERS, 'demul_mm.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(roots.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = _child(roots.PARAM_SCHEDULERS)

# Evaluation, pictures, inference.
EVALUATOR = _child(roots.EVALUATOR)
METRICS = _child(roots.METRICS, 'demul_mm.evaluation')
VISUALIZERS = _child(roots.VISUALIZERS, 'demul_mm.visualization')
VISBACKENDS = _child(roots.VISBACKENDS, 'demul_mm.visualization')
INFERENCERS = _child(roots.INFERENCERS, 'demul_mm.apis')

# Corpus indexes: exact, FAISS, Milvus.
INDEXES = ScopedRegistry('index', scope=SCOPE, locations=['demul_mm.index'])
