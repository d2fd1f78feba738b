"""Python programs in processes of their own, without the seconds that their imports take.

A server process imports the libraries once, computes nothing, and is forked for each program.
"""

import contextlib
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(
    [
        'demul_mm.app.main',
        'demul_mm.apis',
        'demul_mm.app.library',
        'mmengine.runner',
        'lance',
        'transformers.models.bert.modeling_bert',
        'transformers.models.clip.modeling_clip',
    ]
)
FORK = multiprocessing.get_context('fork')
PLAIN = subprocess.Popen


class Program:
    """As much of ``subprocess.Popen`` as tests and tools use, for a Python program.

    Args:
        args: the command line: an interpreter, of which this is the version, and its arguments.
        stdin, stdout, stderr: as for ``subprocess.Popen``, but that None is nothing.
        env: the environment; None: this one.
        cwd: where it stands; None: here.
        text: whether pipes are of text.
        start_new_session: whether it leads a group of processes of its own.
        context: what starts it.
    """

    def __init__(
        self,
        args: Sequence[object],
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike | None = None,
        text: bool = False,
        start_new_session: bool = False,
        context: Any = SERVER,
    ) -> None:
        self.args = args
        with contextlib.ExitStack() as theirs:
            ours, streams = [], []
            for number, stream in enumerate((stdin, stdout, stderr)):
                if number == 2 and stream == subprocess.STDOUT:
                    streams.append(streams[1])
                    ours.append(None)
                    continue
                end, held = _stream(stream, number, text)
                streams.append(theirs.enter_context(end))
                ours.append(held)
            self.stdin, self.stdout, self.stderr = ours
            options = (streams, dict(env or os.environ), os.fspath(cwd or Path.cwd()))
            given = (list(map(str, args[1:])), *options, start_new_session)
            self._process = context.Process(target=_become, args=given)
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode

    def poll(self) -> int | None:
        return self.returncode

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Close its input and read what it prints to its end."""
        if self.stdin:
            self.stdin.close()
        with ThreadPoolExecutor() as readers:
            both = [f and readers.submit(f.read) for f in (self.stdout, self.stderr)]
            if self.wait(timeout) is None:
                self.kill()
                raise subprocess.TimeoutExpired(list(map(str, self.args)), timeout or 0)
            out, err = (one and one.result() for one in both)
        return out, err

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def __enter__(self) -> 'Program':
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def _stream(stream: Any, number: int, text: bool) -> tuple[Connection, Any]:
    """The end of a program's stream that it gets, and for a pipe the file at the other end."""
    reads, held = number == 0, None
    if stream == subprocess.PIPE:
        read, write = os.pipe()
        given, kept = (read, write) if reads else (write, read)
        held = open(kept, ('w' if reads else 'r') + ('' if text else 'b'))  # noqa: SIM115
    elif stream in (None, subprocess.DEVNULL):
        given = os.open(os.devnull, os.O_RDWR)
    else:
        given = os.dup(stream if isinstance(stream, int) else stream.fileno())
    # As a connection, for those are handed on to processes that are not this one's children.
    return Connection(given, readable=reads, writable=not reads), held


def run_warm(
    *command: object, cwd: str | os.PathLike = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end; what it printed is there as text."""
    pipe = subprocess.PIPE
    program = Program(command, stdout=pipe, stderr=pipe, cwd=cwd, env=env, text=True)
    printed = program.communicate()
    assert program.returncode is not None
    return subprocess.CompletedProcess(command, program.returncode, *printed)


def run_ranks(function: Any, *args: object, ranks: int = 2) -> None:
    """Call a module's function in several processes, with the rank before the arguments."""
    torch.multiprocessing.start_processes(function, args, ranks, start_method='forkserver')


def start_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whatever Python program or process is started, here or by one that is, be warm."""
    monkeypatch.setattr(subprocess, 'Popen', _popen(SERVER))
    get_context = multiprocessing.get_context
    monkeypatch.setattr(
        multiprocessing,
        'get_context',
        lambda method=None: get_context('forkserver' if method == 'spawn' else method),
    )


def _popen(context: Any) -> Any:
    def popen(args: Any, **options: Any) -> Any:
        if isinstance(args, (list, tuple)) and len(args) > 1 and args[0] == sys.executable:
            return Program(args, context=context, **options)
        return PLAIN(args, **options)

    return popen


def _become(
    args: list[str], streams: list[Connection], env: dict[str, str], cwd: str, leads: bool
) -> None:
    """In the new process: be the program, and end with its exit code."""
    if leads:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(n, 'w', buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for module in list(sys.modules.values()):  # what it starts is warm already
        if getattr(module, '__dict__', {}).get('Popen') is PLAIN:
            module.Popen = _popen(FORK)  # type: ignore[attr-defined]
    gc.freeze()  # mmengine collects garbage for each data set: not among all libraries
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
    kind, *rest = args
    if kind == '-u':  # lines are written as they end
        _run(rest)
    elif kind == '-c':
        sys.argv = ['-c', *rest[1:]]
        exec(rest[0], {'__name__': '__main__'})
    elif kind == '-m':
        sys.argv = rest
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
        sys.argv = args
        sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
        runpy.run_path(kind, run_name='__main__')
