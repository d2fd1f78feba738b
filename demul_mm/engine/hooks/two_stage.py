"""Encoders first, fusion after."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from demul_mm.engine.epochs import require_epochs
from demul_mm.engine.models import unwrapped
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import HOOKS


@HOOKS.register_module()
class TwoStageHook(Hook):
    """Train the first epochs without fusion, which makes a step cheaper.

    In these epochs the head sees what the video alone says and the similarity, as it does without a
    neck. The gates of the neck are closed when its training begins, so nothing jumps.

    Args:
        share: part of the epochs, in [0, 1): those without fusion come first.
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 <= share < 1:
            raise ValueError(f'share is {share}; it must be in [0, 1)')
        self.share = share

    def before_train(self, runner: Runner) -> None:
        require_epochs(runner, self)

    def before_train_epoch(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, DeMUL) or model.neck is None:
            raise TypeError(
                f'TwoStageHook trains a DeMUL with a fusion neck, not {type(model).__name__}: '
                'take it out of custom_hooks'
            )
        model.fusing = runner.epoch >= int(self.share * runner.max_epochs)
