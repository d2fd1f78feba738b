"""Entry point of the tools: a mistake of the user is one line and exit code 2."""

import io
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import mmengine.registry

# Errors of the user: their message is meant to be read without a traceback.
USER_ERRORS = (
    ValueError, TypeError, KeyError, ImportError, OSError, RuntimeError, FloatingPointError
)  # fmt: skip
PACKAGE = Path(__file__).resolve().parents[1]
# Who raises on purpose: our own code, and the registry for a config that fits no class.
OURS = (
    PACKAGE,
    *(PACKAGE.parent / folder for folder in ('tools', 'benchmarks', 'projects')),
    Path(mmengine.registry.__file__).resolve().parent,
)
WORKER_ERROR = re.compile(r'^Caught \w+ in DataLoader worker process')


def run_tool(main: Callable[[], int | None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a tool and exit with what it returns; its user's mistake is one line and exit code 2.

    An error counts as the user's when our own code raised it, when the registry could not build
    something, or when a file is missing. Any other is a bug and keeps its traceback, as all do
    with ``--debug``.

    Args:
        main: returns an exit code: 1 if the work is done but for what it has listed, None for 0.
        arguments: the command line, if it is not the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a console cannot show is no error
            stream.reconfigure(errors='backslashreplace')
    debug = '--debug' in (sys.argv if arguments is None else arguments)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except USER_ERRORS as error:
        if debug or not _is_users(error):
            raise
        print(f'error: {_message(error)}', file=sys.stderr)
        print('(the traceback: --debug)', file=sys.stderr)
        sys.exit(2)
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    distributed = sys.modules.get('torch.distributed')  # not imported: no group was joined
    if distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()


def _is_users(error: BaseException) -> bool:
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame.filename for frame in frames]
    # torch and numpy raise them too, within a line of ours
    if isinstance(error, (RuntimeError, FloatingPointError)):
        if not (frames[-1].line or '').startswith('raise '):
            return False
    elif WORKER_ERROR.match(str(error)):
        files = re.findall(r'^  File "(.+?)", line', str(error), flags=re.MULTILINE) or files
    innermost = Path(files[-1]).resolve()  # that of a script is as it was given
    return any(innermost.is_relative_to(folder) for folder in OURS)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return str(error.args[0])
    if WORKER_ERROR.match(str(error)):  # its last line is that of the error in the worker
        return str(error).rstrip().rsplit('\n', 1)[-1].split(': ', 1)[-1]
    return str(error)
