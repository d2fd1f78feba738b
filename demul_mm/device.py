"""Devices, copies to them that do not block, and host copies that are remembered."""

import torch
from torch import Tensor


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """A device that is there.

    Args:
        device: its name, 'cpu' or 'cuda:1'; None: a GPU where there is one.

    Raises:
        ValueError: there is no such device here.
    """
    there = ['cpu', *(f'cuda:{number}' for number in range(torch.cuda.device_count()))]
    try:
        chosen = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=chosen)
    except (AssertionError, RuntimeError):
        raise ValueError(f'there is no device {device}; allowed: {", ".join(there)}') from None
    return chosen


def to_device(x: Tensor, device: str | torch.device) -> Tensor:
    """``x`` of the host on ``device``: nobody waits for the copy.

    That takes pinned memory; a list, and memory that may be paged out, is copied while the host
    waits for all that the device was asked before. What was given stays known to :func:`on_host`.
    """
    device = torch.device(device)
    source = x.pin_memory() if device.type == 'cuda' and x.device.type == 'cpu' else x
    moved = source.to(device, non_blocking=True)
    if moved is not x:
        moved.known_on_host = x  # type: ignore[attr-defined]
    return moved


def on_host(x: Tensor) -> Tensor:
    """The values of ``x`` on the CPU; of what :func:`to_device` gave, without asking the device."""
    return getattr(x, 'known_on_host', x).cpu()
