"""The command that serves: where it listens, and what it asks for there."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import uvicorn

from demul_mm.server.run import is_loopback, serve
from demul_mm.server.service import Service
from tests.app.encoders import save_encoder
from tests.app.films import ColourEncoder
from tests.app.test_main import ROOT, RUN, demul
from tests.server.homes import make_home
from tests.warm import Program

TOKEN = 'a-token-of-enough-letters'


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / 'library', ColourEncoder, allowed=[tmp_path])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are told; nothing is served."""
    monkeypatch.setattr(uvicorn.Server, 'run', lambda *_, **__: None)
    return []


def test_a_token_is_made_where_others_can_ask(service: Service, told: list[str]) -> None:
    for host in ('127.0.0.1', '0.0.0.0', '0.0.0.0'):
        serve(service, host, 0, None, told.append)
    here, *elsewhere = told
    assert here.startswith('http://127.0.0.1:')
    assert 'token' not in here
    tokens = [url.split('?token=')[1] for url in elsewhere]
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 32
    serve(service, '127.0.0.1', 0, TOKEN, told.append)
    assert told[-1].endswith(f'?token={TOKEN}')


def test_mistakes_are_told(service: Service, told: list[str]) -> None:
    for token in ('short', 'sixteen letters;', ''):
        with pytest.raises(ValueError, match='16 to 256 letters'):
            serve(service, '127.0.0.1', 0, token, told.append)
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match='choose another --port'):
            serve(service, '127.0.0.1', port, None, told.append)
    assert told == []


@pytest.mark.parametrize(
    ('host', 'here'),
    [
        ('127.0.0.1', True),
        ('127.8.8.8', True),
        ('::1', True),
        ('localhost', True),
        ('0.0.0.0', False),
        ('::', False),
        ('192.168.1.7', False),
        ('localhost.example', False),
    ],
)
def test_only_this_computer_needs_no_token(host: str, here: bool) -> None:
    assert is_loopback(host) == here


@pytest.mark.slow
def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    make_home(tmp_path)
    save_encoder(tmp_path / 'encoder')
    demul('index', 'films', '--encoder', 'encoder', '--device', 'cpu', cwd=tmp_path)
    command = [sys.executable, '-c', RUN, 'serve', '--port', '0', '--device', 'cpu']
    environment = dict(os.environ, PYTHONPATH=str(ROOT), DEMUL_TOKEN=TOKEN)
    pipe = subprocess.PIPE
    with Program(command, cwd=tmp_path, env=environment, stdout=pipe, text=True) as process:
        try:
            page = process.stdout.readline().split()[1]
            assert page.endswith(f'/?token={TOKEN}')
            asked = urllib.request.Request(page.split('?')[0] + 'api/library')
            asked.add_header('Authorization', f'Bearer {TOKEN}')
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert json.load(answer)['videos'] == 2
        finally:
            os.kill(process.pid, signal.SIGINT)
    assert process.returncode == 0
