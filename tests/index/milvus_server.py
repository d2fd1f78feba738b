"""A Milvus server for tests: Milvus Lite's own, or the one that the environment names.

``MILVUS_URI`` is the address of one that runs; ``MILVUS_SERVER`` is the command of the pip package
milvus, of which each test file starts its own. That package needs an environment of its own, and
listens on all interfaces whatever it is told: give it a network of its own too::

    python -m venv ENV && ENV/bin/pip install milvus==2.3.5 'setuptools<81'
    unshare -rn sh -c 'ip link set lo up; MILVUS_SERVER=ENV/bin/milvus-server pytest TEST_FILE'
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demul_mm.index.milvus_collections import Collections

PARTS = ['rootCoord', 'proxy', 'queryCoord', 'queryNode', 'indexNode', 'dataCoord', 'dataNode']


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """The address of a server, which is stopped in the end if it was started for this."""
    if 'MILVUS_URI' in os.environ:
        yield os.environ['MILVUS_URI']
        return
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, '-m', 'milvus_lite', 'server']
    command += ['--data-dir', str(folder), '--port', port]
    if 'MILVUS_SERVER' in os.environ:
        command = [os.environ['MILVUS_SERVER'], '--data', str(folder), '--proxy-port', port]
        for part in PARTS:
            command += ['--extra-config', f'{part}.ip=127.0.0.1']
    with open(folder / 'log', 'w') as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        uri = f'http://127.0.0.1:{port}'
        _wait_for(uri, process)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(uri: str, process: subprocess.Popen) -> None:
    for _ in range(600):
        assert process.poll() is None, 'the server has ended'
        try:
            Collections(uri, 'none', None).exist()
            return
        except RuntimeError:
            time.sleep(0.5)
    raise TimeoutError(uri)
