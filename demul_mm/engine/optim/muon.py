"""Orthogonalised momentum for matrices, AdamW for everything else."""

from collections.abc import Callable, Iterable

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from demul_mm.precision import check_precision, choose_precision
from demul_mm.registry import OPTIMIZERS

# Of the quintic iteration that drives all singular values towards 1 (Jordan et al., 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5, precision: str = 'auto') -> Tensor:
    """The nearest matrices with singular values of about 1, by Newton-Schulz iterations.

    Args:
        matrices: ``(N, a, b)``.
        precision: in which the products run (see :mod:`demul_mm.precision`).

    Returns:
        ``(N, a, b)`` in that precision; singular values between .7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(choose_precision(precision, matrices.device))
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if tall else x


def _gradients(params: Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]


@OPTIMIZERS.register_module()
class MuonAdamW(Optimizer):
    """Muon for the weights of linear layers, AdamW for all else, with one learning rate.

    Muon (Jordan et al., 2024) replaces the momentum of a matrix by the nearest orthogonal one, so
    that rare directions are learned as fast as frequent ones; updates are scaled to the size of
    AdamW's (Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.2). Matrices of one
    shape are orthogonalised together.

    Args:
        params: parameters or groups of them.
        lr: learning rate of both.
        weight_decay: decoupled, of both.
        momentum: that of Muon, with Nesterov's correction.
        betas: decay rates of AdamW's two means.
        eps: what AdamW adds to its divisor.
        min_size: matrices with a smaller side are left to AdamW. What a resumed run has on another
            side than before begins anew.
        kernels: whether the kernels of convolutions are such matrices too, with a row for each
            output.
        precision: type of the orthogonalisation's products; float16 lacks the range for it.
        shared: in a distributed run, each process orthogonalises its share of the matrices and
            tells the others, to the same result. All must have the same gradients, as
            ``DistributedDataParallel`` leaves them.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        min_size: int = 8,
        precision: str = 'auto',
        kernels: bool = False,
        shared: bool = False,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(
                f'lr is {lr}, weight_decay {weight_decay}, momentum {momentum}; the first two must '
                'be at least 0, momentum in [0, 1)'
            )
        if check_precision(precision) == 'float16':
            raise ValueError(
                "precision 'float16' lacks the range; allowed: auto, float32, bfloat16"
            )
        self.min_size = min_size
        self.kernels = kernels
        self.precision = precision
        self.shared = shared
        defaults = dict(
            lr=lr, weight_decay=weight_decay, momentum=momentum, betas=tuple(betas), eps=eps
        )
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(  # type: ignore[override]  # torch's overloads
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group['params'] if p.grad is not None]
            matrices = [p for p in trained if self._is_matrix(p)]
            known = {id(p) for p in matrices}
            self._muon(matrices, group)
            self._adamw([p for p in trained if id(p) not in known], group)
        return loss

    def _is_matrix(self, p: Tensor) -> bool:
        rows = p.shape[0] if p.ndim else 1
        wanted = p.ndim >= 2 if self.kernels else p.ndim == 2
        return wanted and min(rows, p.numel() // rows) >= self.min_size

    def _muon(self, params: list[Tensor], group: dict) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for p in params:
            by_shape.setdefault(p.shape, []).append(p)
        nesterovs = []
        for same in by_shape.values():
            grads = _gradients(same)
            for p in same:
                if 'momentum_buffer' not in self.state[p]:
                    self.state[p] = dict(momentum_buffer=torch.zeros_like(p))
            buffers = [self.state[p]['momentum_buffer'] for p in same]
            torch._foreach_mul_(buffers, group['momentum'])
            torch._foreach_add_(buffers, grads)
            nesterov = torch.stack(buffers).mul_(group['momentum']).add_(torch.stack(grads))
            nesterovs.append(nesterov.flatten(2))
        for same, update in zip(by_shape.values(), self._orthogonalize(nesterovs)):
            scale = group['lr'] * 0.2 * max(update.shape[1:]) ** 0.5
            update = update.view(len(same), *same[0].shape)
            torch._foreach_mul_(same, 1 - group['lr'] * group['weight_decay'])
            torch._foreach_add_(same, list(update.unbind()), alpha=-scale)

    def _orthogonalize(self, stacks: list[Tensor]) -> list[Tensor]:
        """Stacks of matrices ``(n, a, b)``, orthogonalised by one process or by all together."""
        rank, world = get_dist_info() if self.shared else (0, 1)
        if world == 1 or not stacks:
            return [orthogonalize(x, precision=self.precision).to(x.dtype) for x in stacks]
        found = [torch.zeros_like(x) for x in stacks]
        for number, (x, out) in enumerate(zip(stacks, found)):
            mine = slice((rank + number) % world, None, world)  # so that single ones are spread
            if len(x[mine]):
                out[mine] = orthogonalize(x[mine], precision=self.precision).to(x.dtype)
        flat = torch.cat([x.flatten() for x in found])
        all_reduce(flat)
        parts = flat.split([x.numel() for x in stacks])
        return [part.view_as(x) for part, x in zip(parts, stacks)]

    def _adamw(self, params: list[Tensor], group: dict) -> None:
        if not params:
            return
        for p in params:
            if 'exp_avg' not in self.state[p]:
                self.state[p] = dict(
                    step=torch.zeros((), dtype=torch.float32, device=p.device),
                    exp_avg=torch.zeros_like(p),
                    exp_avg_sq=torch.zeros_like(p),
                )
        columns = {key: [self.state[p][key] for p in params] for key in self.state[params[0]]}
        adamw(
            params,
            _gradients(params),
            columns['exp_avg'],
            columns['exp_avg_sq'],
            [],
            columns['step'],
            fused=True,
            amsgrad=False,
            beta1=group['betas'][0],
            beta2=group['betas'][1],
            lr=group['lr'],
            weight_decay=group['weight_decay'],
            eps=group['eps'],
            maximize=False,
        )
