"""Running the tools as a user does."""

import contextlib
import io
import json
import os
import runpy
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.warm import run_warm

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """What a tool left: its exit code and what it printed."""

    code: int
    out: str
    err: str


def call(tool: str, *arguments: object) -> Done:
    """Run a tool as ``python tools/...`` would, in this process and where it stands.

    Args:
        tool: its path from the repository's root.
        arguments: of the command line.
    """
    path = ROOT / tool
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        patch.syspath_prepend(str(path.parent))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # noqa: SIM117
            with pytest.raises(SystemExit) as stop:
                runpy.run_path(str(path), run_name='__main__')
    return Done(stop.value.code or 0, out.getvalue(), err.getvalue())


def run_in_process(name: str, *arguments: str) -> None:
    """Run a tool as ``python tools/...`` would, without the seconds that its imports take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.syspath_prepend(str(ROOT / Path(name).parent))
        patch.setattr(sys, 'argv', [name, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(name, run_name='__main__')
    if stop.value.code:
        raise SystemExit(stop.value.code)


def run(
    *command: str, expect: int = 0, python: str = sys.executable
) -> subprocess.CompletedProcess:
    """Run a command from the repository's root."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(environment(), PYTHON=python),
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def run_warm_script(script: str, *arguments: str) -> None:
    """Run the one Python program that a shell script starts, and its ranks, warm."""
    command = run(script, *arguments, python='echo').stdout
    done = run_warm(sys.executable, *shlex.split(command), env=environment())
    assert done.returncode == 0, done.stderr[-4000:]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def environment() -> dict[str, str]:
    """For a tool in a process of its own."""
    return dict(
        os.environ,
        PYTHONPATH=str(ROOT),
        PYTHONWARNINGS='ignore',
        PORT=str(free_port()),
    )


def measured(work_dir: Path) -> dict:
    """The metrics that tools/test.py wrote into its work dir."""
    (path,) = work_dir.glob('*/[0-9]*.json')
    return json.loads(path.read_text())
