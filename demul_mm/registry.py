"""The registries of ``demul_mm``.

Each is a child of the mmengine root registry of the same kind, so a config of any OpenMMLab
package can name a class of ours as ``demul_mm.DeMUL`` and a config of ours can name a class of
another package with its scope, as ``mmaction.ResNet3dSlowOnly``. The modules under ``locations``
are imported when something is first built from the registry.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import EVALUATOR as MMENGINE_EVALUATOR
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import INFERENCERS as MMENGINE_INFERENCERS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNER_CONSTRUCTORS as MMENGINE_RUNNER_CONSTRUCTORS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
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


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    # A registry without modules of ours still needs a location, or mmengine guesses one.
    return ScopedRegistry(
        name, parent=parent, scope=SCOPE, locations=list(locations) or ['demul_mm']
    )


# Data: data sets, their samplers, the steps of a pipeline.
DATASETS = _child('dataset', MMENGINE_DATASETS, 'demul_mm.datasets')
DATA_SAMPLERS = _child('data sampler', MMENGINE_DATA_SAMPLERS, 'demul_mm.datasets')
TRANSFORMS = _child('transform', MMENGINE_TRANSFORMS, 'demul_mm.datasets')
# Where pre-extracted features are kept: folder, HDF5, packed.
FEATURE_STORES = ScopedRegistry('feature store', scope=SCOPE, locations=['demul_mm.datasets'])

# Models: every nn.Module, and what they are made of that has no parameters.
MODELS = _child('model', MMENGINE_MODELS, 'demul_mm.models')
TASK_UTILS = _child('task util', MMENGINE_TASK_UTILS, 'demul_mm.models')
MODEL_WRAPPERS = _child('model_wrapper', MMENGINE_MODEL_WRAPPERS, 'demul_mm.engine')
WEIGHT_INITIALIZERS = _child('weight initializer', MMENGINE_WEIGHT_INITIALIZERS)

# Training and testing.
RUNNERS = _child('runner', MMENGINE_RUNNERS)
RUNNER_CONSTRUCTORS = _child('runner constructor', MMENGINE_RUNNER_CONSTRUCTORS)
LOOPS = _child('loop', MMENGINE_LOOPS, 'demul_mm.engine')
HOOKS = _child('hook', MMENGINE_HOOKS, 'demul_mm.engine')
LOG_PROCESSORS = _child('log processor', MMENGINE_LOG_PROCESSORS)
OPTIMIZERS = _child('optimizer', MMENGINE_OPTIMIZERS, 'demul_mm.engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', MMENGINE_OPTIM_WRAPPERS, 'demul_mm.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
)
PARAM_SCHEDULERS = _child('parameter scheduler', MMENGINE_PARAM_SCHEDULERS)

# Evaluation, pictures, inference.
EVALUATOR = _child('evaluator', MMENGINE_EVALUATOR)
METRICS = _child('metric', MMENGINE_METRICS, 'demul_mm.evaluation')
VISUALIZERS = _child('visualizer', MMENGINE_VISUALIZERS, 'demul_mm.visualization')
VISBACKENDS = _child('vis_backend', MMENGINE_VISBACKENDS, 'demul_mm.visualization')
INFERENCERS = _child('inferencer', MMENGINE_INFERENCERS, 'demul_mm.apis')

# Corpus indexes: exact, FAISS, Milvus.
INDEXES = ScopedRegistry('index', scope=SCOPE, locations=['demul_mm.index'])
