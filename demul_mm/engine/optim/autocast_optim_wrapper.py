"""Mixed precision on CPU as on CUDA."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from demul_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 on the device where the model is.

    bfloat16 has the range of float32, so there is no loss scale. mmengine's ``AmpOptimWrapper``
    (float16 with a loss scale) asserts a GPU; this one does not. Weights, gradients and the
    optimizer stay in float32.

    Args:
        optimizer: the optimizer, built.
        dtype: 'bfloat16', or 'float32' to switch autocasting off.
        accumulative_counts: iterations whose gradients are summed before a step.
        clip_grad: as of mmengine's ``OptimWrapper``: ``dict(max_norm=...)``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str = 'bfloat16',
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts=accumulative_counts, clip_grad=clip_grad)
        if dtype not in ('bfloat16', 'float32'):
            raise ValueError(
                f"AutocastOptimWrapper: dtype is '{dtype}', allowed are 'bfloat16' and 'float32'; "
                'float16 needs a loss scale, use mmengine.AmpOptimWrapper on a GPU for that'
            )
        self.dtype = dtype

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        enabled = self.dtype == 'bfloat16'
        with (
            super().optim_context(model),
            torch.autocast(device, dtype=torch.bfloat16, enabled=enabled),
        ):
            yield
