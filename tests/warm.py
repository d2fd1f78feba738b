"""Python programs in processes of their own, without the seconds that their imports take.

A server process imports the libraries once, computes nothing, and is forked for each program.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['demul_mm.apis', 'demul_mm.app.library', 'mmengine.runner'])
FORK = multiprocessing.get_context('fork')
PLAIN = subprocess.Popen


class Program:
    """As much of ``subprocess.Popen`` as the tools use, for a script or ``-c`` code of Python.

    Args:
        args: the command line.
        stdout: a file with a name, or None for nothing.
        stderr: ``STDOUT``, a file with a name, or None for nothing.
        env: the environment; None: this one.
        cwd: where it stands; None: here.
        context: what starts it.
    """

    def __init__(
        self,
        args: Sequence[str],
        stdout: Any = None,
        stderr: Any = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike | None = None,
        context: Any = SERVER,
    ) -> None:
        self.args = args
        out = os.path.abspath(getattr(stdout, 'name', os.devnull))
        err = out if stderr == subprocess.STDOUT else getattr(stderr, 'name', os.devnull)
        options = (out, os.path.abspath(err), dict(env or os.environ), os.fspath(cwd or Path.cwd()))
        self._process = context.Process(target=_become, args=(list(map(str, args[1:])), *options))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode

    def poll(self) -> int | None:
        return self.returncode

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[None, None]:
        self.wait(timeout)
        return None, None

    def terminate(self) -> None:
        self._process.terminate()

    kill = terminate

    def __enter__(self) -> 'Program':
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def run_warm(
    *command: object, cwd: str | os.PathLike = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end; what it printed is there as text."""
    with tempfile.NamedTemporaryFile('r') as out, tempfile.NamedTemporaryFile('r') as err:
        args = list(map(str, command))
        code = Program(args, out, err, env, cwd).wait()
        assert code is not None
        return subprocess.CompletedProcess(args, code, out.read(), err.read())


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Python program is started in a test, or by one that is, is warm."""
    monkeypatch.setattr(subprocess, 'Popen', _popen(SERVER))


def _popen(context: Any) -> Any:
    def popen(args: Any, **options: Any) -> Any:
        if isinstance(args, list) and len(args) > 1 and args[0] == sys.executable:
            return Program(args, context=context, **options)
        return PLAIN(args, **options)

    return popen


def _become(args: list[str], out: str, err: str, env: dict[str, str], cwd: str) -> None:
    """In the new process: be the program, and end with its exit code."""
    for number, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    sys.stdout, sys.stderr = (open(n, 'w', buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    subprocess.Popen = _popen(FORK)  # type: ignore[misc]  # what it starts is warm already
    code = 1
    try:
        _run(args)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)  # a fork of a thread has no orderly end


def _run(args: list[str]) -> None:
    if args[0] == '-c':
        sys.argv = ['-c', *args[2:]]
        exec(args[1], {'__name__': '__main__'})
    else:
        sys.argv = args
        sys.path.insert(0, os.path.dirname(os.path.abspath(args[0])))
        runpy.run_path(args[0], run_name='__main__')
