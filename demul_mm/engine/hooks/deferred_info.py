"""Report the losses when they are read, not after each step."""

import math
from typing import Any

import torch
from mmengine.hooks import CheckpointHook, Hook, LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from demul_mm.registry import HOOKS


@HOOKS.register_module()
class DeferredInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook`` without reading every loss of every step back at once.

    Reading a number from a GPU waits for all work that was queued there, and the GPU then idles
    until the next step has been prepared. So losses, and the norm of the gradients that
    :class:`AutocastOptimWrapper` keeps, stay on the device until a logger or a checkpoint wants
    them. The message hub then gets the value of every step, as it would have.

    Raises:
        FloatingPointError: a loss or the norm of the gradients is infinite or no number. What such
            a step leaves is worth nothing, and no checkpoint is saved of it. (The norm alone may be
            infinite where a loss scale is in use, which then skips the step.)
    """

    def __init__(self) -> None:
        # Of each step its number, names, and (n,) values.
        self._kept: list[tuple[int, list[str], Tensor]] = []
        self._readers: list[Hook] = []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._kept = []
        self._readers = [
            hook
            for hook in runner.hooks
            if isinstance(hook, LoggerHook)
            or (isinstance(hook, CheckpointHook) and not hook.by_epoch)
        ]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        values = dict(outputs or {})
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        if norm is not None:
            values['grad_norm'], runner.optim_wrapper.grad_norm = norm, None
        tensors = {k: v.detach().reshape(()) for k, v in values.items() if isinstance(v, Tensor)}
        plain = {k: v for k, v in values.items() if k not in tensors}
        super().after_train_iter(runner, batch_idx, data_batch, plain)
        if tensors:
            self._kept.append((runner.iter + 1, list(tensors), torch.stack([*tensors.values()])))
        if self._is_read(runner, batch_idx):
            self._report(runner)

    def before_val(self, runner: Runner) -> None:
        self._report(runner)
        super().before_val(runner)

    def after_train(self, runner: Runner) -> None:
        self._report(runner)
        super().after_train(runner)

    def _is_read(self, runner: Runner, batch_idx: int) -> bool:
        """Whether a hook that comes after this one reads the message hub in this step."""
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            return True
        return any(
            self.every_n_inner_iters(batch_idx, hook.interval)
            if isinstance(hook, LoggerHook)
            else self.every_n_train_iters(runner, hook.interval)
            for hook in self._readers
        )

    def _report(self, runner: Runner) -> None:
        if not self._kept:
            return
        kept, self._kept = self._kept, []
        numbers = iter(torch.cat([values.double() for *_, values in kept]).tolist())
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        scales = scaler is not None and scaler.is_enabled()
        for step, names, _ in kept:
            found = {name: next(numbers) for name in names}
            lost = [
                f'{name} {value}'
                for name, value in found.items()
                if not math.isfinite(value) and not (scales and name == 'grad_norm')
            ]
            if lost:
                raise FloatingPointError(
                    f'training has diverged: {", ".join(lost)} in iteration {step}. Nothing was '
                    'saved since; go on from the last checkpoint (--resume) with a lower '
                    'optim_wrapper.optimizer.lr or optim_wrapper.dtype=float32'
                )
            for name, value in found.items():
                runner.message_hub.update_scalar(f'train/{name}', value)
