"""What the sections of the check share: the list of them, and how they report differences."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lab import Lab
from torch import Tensor

Rows = dict[str, dict[str, float | str]]
SECTIONS: dict[str, Callable[[Lab, Rows], None]] = {}


class Skipped(Exception):
    """A section that does not apply here, and why."""


def section(function: Callable[[Lab, Rows], None]) -> Callable[[Lab, Rows], None]:
    """Register a part of the check: it fills rows, and raises AssertionError on a failure."""
    SECTIONS[function.__name__] = function
    return function


@contextmanager
def exact_products() -> Iterator[None]:
    """Compute float32 products without TF32, whose mantissa has 10 bits."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, value in zip(backends, before):
            backend.allow_tf32 = value


def bound(rows: Rows, name: str, value: float, limit: float) -> None:
    """Note a difference; raise AssertionError if it exceeds ``limit``."""
    rows[name] = {'off by': f'{value:.1e}', 'at most': f'{limit:.0e}'}
    assert value <= limit, f'{name} is off by {value:.2e}, which is more than {limit:.0e}'


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return float((a.detach().double().cpu() - b.detach().double().cpu()).abs().max())
