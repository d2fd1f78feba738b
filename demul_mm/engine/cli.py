"""What the command line tools share: options, refusal of misspelt ones, launch, clear errors."""

import argparse
import difflib
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import mmengine.registry
import torch
from mmengine.config import Config, DictAction
from torch import distributed

from demul_mm.engine.options import apply_options

DEBUG_VARIABLE = 'DEMUL_MM_DEBUG'
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# Errors of the user: their message is meant to be read without a traceback.
USER_ERRORS = (ValueError, TypeError, KeyError, ImportError, OSError)
PACKAGE = Path(__file__).resolve().parents[1]
# Who raises on purpose: our package and tools, and the registry for a config that fits no class.
OURS = (PACKAGE, PACKAGE.parent / 'tools', Path(mmengine.registry.__file__).resolve().parent)
WORKER_ERROR = re.compile(r'^Caught \w+ in DataLoader worker process')


def tool_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser that shows examples after the options, and knows ``--debug``."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f'examples:\n{examples.rstrip()}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--debug',
        action='store_true',
        help=f'show the traceback of every error (also: {DEBUG_VARIABLE}=1)',
    )
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, for example train_dataloader.batch_size=8; '
        'a list is written key="[a,b]" or key=a,b. features=configs/_base_/features/X.py reads '
        'other features. What would change nothing is refused',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and torch's own ``--local-rank``."""
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(
    path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None
) -> Config:
    """Read a config, apply ``--cfg-options``, and settle where the run writes.

    Args:
        path: the config file.
        options: dotted keys and their values; see :func:`apply_options`.
        work_dir: where to write; otherwise the config's ``work_dir``, otherwise
            ``work_dirs/<name of the config>``, with the name of other ``features``.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: an option would change nothing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no config file {path}{_similar_files(path)}')
    config = Config.fromfile(path)
    apply_options(config, options or {})
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        features = (options or {}).get('features')
        names = [path, features] if isinstance(features, str) else [path]
        config.work_dir = os.path.join('work_dirs', '_'.join(Path(name).stem for name in names))
    return config


def _similar_files(path: str) -> str:
    folder = Path(path).parent
    names = [file.name for file in folder.glob('*.py')] if folder.is_dir() else []
    near = difflib.get_close_matches(Path(path).name, names, n=3)
    return f'; in that folder are {", ".join(near)}' if near else ''


def launch(config: Config, launcher: str, local_rank: int = 0) -> None:
    """Join the other processes of a distributed run; on machines without a GPU too.

    mmengine's ``init_dist`` calls ``torch.cuda.set_device``, and its default model wrapper names
    GPU ids. So without CUDA the process group (gloo) is made here, before the Runner is built,
    and the model is wrapped without ids.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher == 'none' or torch.cuda.is_available():
        return
    _export_ranks(launcher)
    seconds = ((config.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout')
    distributed.init_process_group('gloo', timeout=seconds and timedelta(seconds=seconds))
    wrapper = dict(config.get('model_wrapper_cfg') or {})
    wrapper.setdefault('type', 'mmengine.MMDistributedDataParallel')
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    config.model_wrapper_cfg = dict(wrapper, device_ids=None)


def _export_ranks(launcher: str) -> None:
    """Translate what srun and mpirun export into what torch reads; torchrun did it already."""
    env = os.environ
    if launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env['SLURM_LOCALID']
        if 'MASTER_ADDR' not in env:
            hosts = ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']]
            env['MASTER_ADDR'] = subprocess.check_output(hosts, text=True).split()[0]
    elif launcher == 'mpi':
        prefix = 'OMPI_COMM_WORLD_'
        env['RANK'], env['WORLD_SIZE'] = env[prefix + 'RANK'], env[prefix + 'SIZE']
        env['LOCAL_RANK'] = env[prefix + 'LOCAL_RANK']
        env.setdefault('MASTER_ADDR', '127.0.0.1')
    elif 'RANK' not in env:
        raise ValueError('--launcher pytorch needs torchrun; use tools/dist_train.sh CONFIG COUNT')
    env.setdefault('MASTER_PORT', '29500')


def run_tool(main: Callable[[], None], arguments: Sequence[str] | None = None) -> None:
    """Run a tool; what the user did wrong is one line on stderr and exit code 2.

    An error counts as the user's when our own code raised it, when the registry could not build
    something, or when a file is missing. Any other is a bug and keeps its traceback, as all do
    with ``--debug``.
    """
    debug = '--debug' in (sys.argv if arguments is None else arguments)
    debug = debug or os.environ.get(DEBUG_VARIABLE, '') not in ('', '0')
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except USER_ERRORS as error:
        if debug or not _is_users(error):
            raise
        print(f'error: {_message(error)}', file=sys.stderr)
        print(f'(the traceback: --debug, or {DEBUG_VARIABLE}=1)', file=sys.stderr)
        sys.exit(2)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _is_users(error: BaseException) -> bool:
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return True
    files = re.findall(r'^  File "(.+?)", line', str(error), flags=re.MULTILINE)
    if not (WORKER_ERROR.match(str(error)) and files):
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if not files:
        return False
    innermost = Path(files[-1]).resolve()  # that of a script is as it was given
    return any(innermost.is_relative_to(folder) for folder in OURS)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return str(error.args[0])
    if WORKER_ERROR.match(str(error)):  # its last line is that of the error in the worker
        return str(error).rstrip().rsplit('\n', 1)[-1].split(': ', 1)[-1]
    return str(error)
