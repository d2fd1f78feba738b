"""Checkpoints that run no code when loaded and are never half written."""

import functools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from demul_mm.files import read_text, write_atomically

TRAINED_WITH = 'criterion.'  # nothing is tested with it
ATOMIC_BACKEND = 'demul_mm.AtomicLocalBackend'


class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written by ``write_atomically``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend(ATOMIC_BACKEND, AtomicLocalBackend, force=True)


@functools.cache
def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the log histories that mmengine stores.

    Exactly the classes below are allowed, none of which runs code when it is loaded. numpy's two
    constructors moved between numpy 1 and 2, and a checkpoint may come from either.
    """
    array, scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'bool')]
    safe: list = [HistoryBuffer, (_history_method, 'builtins.getattr'), np.dtype, np.ndarray]
    for core in ('core', '_core'):
        safe.append((array, f'numpy.{core}.multiarray._reconstruct'))
        safe.append((scalar, f'numpy.{core}.multiarray.scalar'))
    torch.serialization.add_safe_globals([*safe, *dtypes])


def _history_method(owner: type, name: str) -> Callable:
    """The one use of ``getattr`` in a checkpoint: a log history stores its statistics' names."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(
            f'the checkpoint asks for the attribute {name!r} of {owner!r}, which no checkpoint '
            'of ours does: refused'
        )
    return getattr(HistoryBuffer, name)


def read_checkpoint(path: str | Path) -> dict:
    """Open a checkpoint; its tensors are memory-mapped, so this is cheap.

    Args:
        path: a file of mmengine or torch, or of weights alone in ``.safetensors``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds more than weights and plain data.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    if Path(path).suffix == '.safetensors':
        try:
            return dict(state_dict=load_file(path))
        except SafetensorError as error:
            raise ValueError(f'{path} is damaged or no safetensors file: {error}') from error
    allow_mmengine_checkpoints()
    try:
        return torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        reason = str(error).rstrip().splitlines()[-1]
        reason = next((x for x in str(error).splitlines() if 'WeightsUnpickler' in x), reason)
        raise ValueError(
            f'{path} holds more than weights and plain data, which could run code; refused. '
            f'torch says: {reason.strip()}'
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(
            f'{path} is damaged or no checkpoint: {str(error).splitlines()[0]}'
        ) from error


def latest_checkpoint(work_dir: str | Path, folder: str | Path | None = None) -> Path | None:
    """The checkpoint that a run goes on from; None where there is none yet.

    ``last_checkpoint`` in the work dir names it with the folder in which it was written. That of
    a work dir that was copied or moved is another one, whose files are not this run's.

    Args:
        folder: where its checkpoints are, if not in the work dir.

    Raises:
        FileNotFoundError: the checkpoint is not among the files of the run.
    """
    note = Path(work_dir, 'last_checkpoint')
    if not note.is_file():
        return None
    named = Path(read_text(note).strip())
    own = Path(folder or work_dir) / named.name
    if own.is_file():
        return own
    raise FileNotFoundError(
        f'{note} names {named}, and there is no {own}; copy it there, or give it to --resume'
    )


def chosen_checkpoint(work_dir: str | Path) -> Path | None:
    """The best checkpoint of a run, or the latest where nothing was validated; None without any."""
    best = sorted(Path(work_dir).glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    return best[-1] if best else latest_checkpoint(work_dir)


def check_fits(model: nn.Module, path: str | Path) -> None:
    """Refuse a checkpoint that would leave weights of the model as they were drawn at random.

    mmengine loads what fits and warns about the rest, which is right for fine-tuning, but a test
    would then measure noise. Weights that only the checkpoint has are no fault.

    Raises:
        ValueError: naming the first weight that is missing or has another shape.
    """
    content = read_checkpoint(path)
    content = content.get('state_dict', content)
    given = {
        name.removeprefix('module.'): tuple(value.shape)
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    wanted = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if name in given or not name.startswith(TRAINED_WITH)
    }
    unfit = [name for name, shape in wanted.items() if given.get(name) != shape]
    if unfit:
        name = unfit[0]
        has = f'of shape {given[name]}' if name in given else 'missing'
        raise ValueError(
            f'{path} does not fit the config: {len(unfit)} of {len(wanted)} weights differ, the '
            f'first is {name}, {wanted[name]} in the model and {has} in the checkpoint. '
            'Use the config that it was trained with'
        )
