"""Mixed precision on CPU as on CUDA."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from demul_mm.precision import autocast, check_precision
from demul_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass in the precision that suits the device where the model is.

    mmengine's ``AmpOptimWrapper`` asserts a GPU; this one does not. Weights, gradients and the
    optimizer stay in float32. float16, which lacks the range of float32, gets a loss scale that is
    saved and restored with the optimizer; bfloat16 needs none.

    The norm of the gradients, where they are clipped by it, is kept as a tensor in ``grad_norm``:
    :class:`DeferredInfoHook` reports it. mmengine reads it back in each step, which waits for the
    device.

    Args:
        optimizer: the optimizer, built.
        dtype: a precision of :mod:`demul_mm.precision`.
        accumulative_counts: iterations whose gradients are summed before a step.
        clip_grad: as of mmengine's ``OptimWrapper``: ``dict(max_norm=...)``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str = 'auto',
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts=accumulative_counts, clip_grad=clip_grad)
        self.dtype = check_precision(dtype)
        scales = dtype == 'float16' and torch.cuda.is_available()
        self.loss_scaler = torch.amp.GradScaler('cuda', enabled=scales)
        self.grad_norm: Tensor | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device
        with super().optim_context(model), autocast(self.dtype, device):
            yield

    def backward(self, loss: Tensor, **kwargs: object) -> None:
        super().backward(self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs: object) -> None:
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()

    def _clip_grad(self) -> None:
        groups = self.optimizer.param_groups
        params = [p for group in groups for p in group['params'] if p.grad is not None]
        if params:
            self.grad_norm = self.clip_func(params, **self.clip_grad_kwargs)  # None for 'value'

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.loss_scaler.is_enabled():
            state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        state = dict(state_dict)
        scale = state.pop('loss_scaler', None)
        if scale and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scale)
        super().load_state_dict(state)
