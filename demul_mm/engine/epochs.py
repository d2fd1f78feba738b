"""A check of hooks that go by epochs."""

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner


def require_epochs(runner: Runner, hook: Hook) -> None:
    """Refuse a training that counts steps alone, whose epoch is the first one to its end.

    Raises:
        ValueError: naming the hook.
    """
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        raise ValueError(
            f'{type(hook).__name__} goes by epochs, which an IterBasedTrainLoop does not count: '
            "give train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=...), or take the hook out "
            'of custom_hooks'
        )
