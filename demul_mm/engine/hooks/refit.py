"""Train once more on all videos, with what was fitted on held-out ones before."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.engine.hooks.length_memory import LengthMemoryHook
from demul_mm.engine.hooks.moment_prior import MomentPriorHook
from demul_mm.engine.hooks.shared_means import SharedMeansHook
from demul_mm.engine.models import models_of, unwrapped
from demul_mm.registry import HOOKS

# What is fitted on held-out videos: the ends of the buffers' names.
FITTED = (
    'calibrator.scale',
    'calibrator.bias',
    'calibrator.num_fitted',
    'calibrator.match_levels',
    'length_memory.weight',
    'joint.video_weight',
    'joint.words_weight',
    'prior.weight',
)


@HOOKS.register_module()
class RefitHook(Hook):
    """At the end of a training without held-out videos, take what another one fitted on its own.

    The other training held some videos out, and chose by them. A second one on all videos has none
    left to fit on, so calibration and weights are taken from the checkpoint of the first. What is
    learnt from the training split itself (:class:`SharedMeansHook`, :class:`LengthMemoryHook`,
    :class:`MomentPriorHook`) is learnt anew. Both happen at the end of the last epoch, and there
    must be no validation; ``tools/train.py --refit`` sets a config up for that.

    Args:
        checkpoint: that of the other training.
    """

    # Before the checkpoint hook.
    priority = 'BELOW_NORMAL'

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self._fitted: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        weights = read_checkpoint(self.checkpoint)
        weights = weights.get('state_dict', weights)
        self._fitted = {k: v.clone() for k, v in weights.items() if k.endswith(FITTED)}
        lacking = sorted(self._wanted(unwrapped(runner.model)).keys() - self._fitted.keys())
        if lacking:
            raise ValueError(
                f'{self.checkpoint} has no {lacking[0]}, which the model needs and nothing is held '
                'out to fit it on; give --refit a checkpoint of this config'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        if not self.is_last_train_epoch(runner):
            return
        models = models_of(runner)
        average = models[-1]  # what is saved
        training = average.training
        average.eval()
        for hook in runner.hooks:
            if isinstance(hook, SharedMeansHook | LengthMemoryHook | MomentPriorHook):
                hook.learn(runner, average)
        average.train(training)
        for model in models:
            for name, value in self._wanted(model).items():
                value.copy_(self._fitted[name])
        runner.logger.info(f'calibration and weights are those fitted in {self.checkpoint}')

    def _wanted(self, model: nn.Module) -> dict[str, Tensor]:
        """What of a model is fitted."""
        return {name: value for name, value in model.named_buffers() if name.endswith(FITTED)}
