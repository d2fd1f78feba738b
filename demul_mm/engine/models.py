"""Unwrap the models of a run."""

from typing import Any

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner


def unwrapped(model: Any) -> Any:
    """The model itself, without that of a distributed run or of a test at several scales."""
    while is_model_wrapper(model) or hasattr(model, 'module'):
        model = model.module
    return model


def models_of(runner: Runner) -> list[Any]:
    """That of the run and, where there is one, its average."""
    averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    return [unwrapped(runner.model), *averages]
