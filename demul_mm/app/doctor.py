"""What is installed, and where models run."""

import importlib.metadata
import platform
from typing import Any

PACKAGES = ('torch', 'transformers', 'mmengine', 'mmaction2', 'faiss-cpu', 'av', 'typer', 'rich')
OPTIONAL = ('torchcodec', 'scenedetect', 'faster-whisper', 'opentimelineio', 'pymilvus')


def findings() -> dict[str, Any]:
    """Versions by name, None for what is missing; the device, its precision, the decoder."""
    import torch

    from demul_mm.precision import multiplies_bfloat16
    from demul_mm.version import __version__

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return dict(
        demul_mm=__version__,
        python=platform.python_version(),
        **{name: _version(name) for name in (*PACKAGES, *OPTIONAL)},
        decoder=_decoder(),
        device=torch.cuda.get_device_name()
        if device == 'cuda'
        else f'cpu, {torch.get_num_threads()} threads',
        precision='bfloat16' if multiplies_bfloat16(device) else 'float32',
    )


def _decoder() -> str:
    from demul_mm.video.decoding import torchcodec_problem

    if _version('av') is None:
        return 'none: pip install "demul-mm[video]"'
    if (problem := torchcodec_problem()) is None:
        return 'torchcodec, and PyAV for what it does not decode'
    return f'PyAV (torchcodec: {problem})' if _version('torchcodec') else 'PyAV'


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
