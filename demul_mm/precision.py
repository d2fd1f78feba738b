"""The precision that products are computed in, decided in one place."""

from functools import cache

import torch
from mmengine.logging import MMLogger

PRECISIONS = ('auto', 'float32', 'bfloat16', 'float16')


def check_precision(precision: str) -> str:
    """The precision itself, or ValueError where it is none of ``PRECISIONS``."""
    if precision not in PRECISIONS:
        raise ValueError(f'the precision is {precision!r}; allowed: {", ".join(PRECISIONS)}')
    return precision


def choose_precision(precision: str, device: str | torch.device) -> torch.dtype:
    """The type in which a device computes products.

    ``'auto'`` is bfloat16 where the hardware multiplies it and float32 elsewhere: where it does
    not, bfloat16 is 20 to 40 times slower than float32. What was chosen is logged once.

    Args:
        precision: ``'auto'``, ``'float32'``, ``'bfloat16'`` or, on a GPU, ``'float16'``, which
            needs a loss scale in training.

    Raises:
        ValueError: there is no such precision, or the device cannot do it.
    """
    return _choose(check_precision(precision), torch.device(device).type)


@cache
def _choose(precision: str, kind: str) -> torch.dtype:
    native = multiplies_bfloat16(kind)
    if precision == 'auto':
        chosen, why = (
            ('bfloat16', 'the hardware multiplies it')
            if native
            else ('float32', 'the hardware does not multiply bfloat16')
        )
        MMLogger.get_current_instance().info(f'precision on {kind}: {chosen}, for {why}')
        return getattr(torch, chosen)
    if precision == 'float16' and kind != 'cuda':
        raise ValueError(f"float16 needs a GPU; on {kind} allowed: 'auto', 'float32', 'bfloat16'")
    if precision == 'bfloat16' and kind == 'cuda' and not native:
        raise ValueError("this GPU has no bfloat16; allowed on it: 'auto', 'float32', 'float16'")
    if precision == 'bfloat16' and not native:
        MMLogger.get_current_instance().warning(
            f"precision on {kind}: bfloat16, as asked for; this hardware has to imitate it, 'auto' "
            'is many times faster'
        )
    return getattr(torch, precision)


def multiplies_bfloat16(device: str | torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself, as torch tells.

    CUDA from compute capability 8; CPUs with AVX512-BF16 or AMX that oneDNN may use (it obeys
    ``ONEDNN_MAX_CPU_ISA``).
    """
    kind = torch.device(device).type
    if kind == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != 'cpu' or not torch.backends.mkldnn.is_available():
        return False
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(has and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(precision: str, device: str | torch.device) -> torch.autocast:
    """A context in which forward passes on ``device`` run in ``precision``."""
    dtype, kind = choose_precision(precision, device), torch.device(device).type
    return torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32)
