"""What the command line tools share: options, refusal of misspelt ones, launch, clear errors."""

import argparse
import difflib
import inspect
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mmengine.registry
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import Registry
from torch import distributed

from demul_mm import registry as registries

DEBUG_VARIABLE = 'DEMUL_MM_DEBUG'
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# Errors of the user: their message is meant to be read without a traceback.
USER_ERRORS = (ValueError, TypeError, KeyError, ImportError, OSError)
PACKAGE = Path(__file__).resolve().parents[1]
# Who raises on purpose: our package and tools, and the registry for a config that fits no class.
OURS = (PACKAGE, PACKAGE.parent / 'tools', Path(mmengine.registry.__file__).parent)
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
        'a list is written key="[a,b]" or key=a,b. A key that the config does not have is refused',
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
        options: dotted keys and their values; each key must be in the config already.
        work_dir: where to write; otherwise the config's ``work_dir``, otherwise
            ``work_dirs/<name of the config>``.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: an option names a key that the config does not have.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no config file {path}{_similar_files(path)}')
    config = Config.fromfile(path)
    check_options(config, options or {})
    config.merge_from_dict(dict(options or {}))
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        config.work_dir = os.path.join('work_dirs', Path(path).stem)
    return config


def _similar_files(path: str) -> str:
    folder = Path(path).parent
    names = [file.name for file in folder.glob('*.py')] if folder.is_dir() else []
    near = difflib.get_close_matches(Path(path).name, names, n=3)
    return f'; in that folder are {", ".join(near)}' if near else ''


def check_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse ``--cfg-options`` that change nothing: neither a key of the config, nor an argument
    of the class that a ``type`` of the config names.

    Raises:
        ValueError: naming the key and the nearest keys that exist.
    """
    for key in options:
        node: Any = config
        done: list[str] = []
        for part in key.split('.'):
            if part not in _keys(node) and part in _arguments(node):
                break
            if part not in _keys(node):
                near = _nearest(part, done, node, config)
                where = f"'{'.'.join(done)}' of the config" if done else 'the config'
                raise ValueError(
                    f"--cfg-options: there is no '{part}' in {where} (given: {key}). {near}"
                )
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
            done.append(part)


def _arguments(node: Any) -> list[str]:
    """What the class that ``node['type']`` names can be given, in the config or not."""
    kind = node.get('type') if isinstance(node, Mapping) else None
    if not isinstance(kind, str):
        return []
    for found in vars(registries).values():
        built = found.get(kind) if isinstance(found, Registry) else None
        if built is not None:
            return list(inspect.signature(built).parameters)
    return []


def _keys(node: Any) -> list[str]:
    if isinstance(node, Mapping) or hasattr(node, 'keys'):
        return [str(key) for key in node.keys()]  # noqa: SIM118  a Config iterates otherwise
    if isinstance(node, (list, tuple)):
        return [str(index) for index in range(len(node))]
    return []


def _nearest(part: str, done: list[str], node: Any, config: Any) -> str:
    """The siblings that look like ``part``, or the same name elsewhere, or all siblings."""
    near = difflib.get_close_matches(part, _keys(node), n=3)
    near = ['.'.join([*done, name]) for name in near]
    near = near or [path for path in _paths(config) if path.rsplit('.', 1)[-1] == part][:3]
    if near:
        return f'Did you mean {" or ".join(near)}?'
    return f'Allowed are: {", ".join(_keys(node)) or "none, it is a plain value"}.'


def _paths(node: Any, prefix: str = '') -> Iterator[str]:
    for key in _keys(node):
        child = node[int(key)] if isinstance(node, (list, tuple)) else node[key]
        yield prefix + key
        yield from _paths(child, f'{prefix}{key}.')


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
    distributed.init_process_group('gloo')
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
