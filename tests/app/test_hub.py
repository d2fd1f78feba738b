"""Models are downloaded from a hub once, after what it costs is said, and never when offline."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from demul_mm.apis import published
from demul_mm.apis.publishing import publish
from tests.app.colours import save_colour_model
from tests.app.encoders import save_encoder
from tests.app.films import write_film
from tests.app.hub import Hub, hub
from tests.app.test_main import ROOT

# Commands in one process, whose imports take longest.
COMMANDS = """
import json, sys
import tests.app.colours
from demul_mm.apis import published
from demul_mm.app.main import main
published.PLACES += ('tests.',)
for arguments in json.loads(sys.argv[1]):
    sys.argv = ['demul', *arguments]
    try:
        main()
    except SystemExit as stop:
        print('ended with', stop.code)
"""


def as_newcomer(
    home: Path, server: Hub, commands: Sequence[Sequence[str]]
) -> subprocess.CompletedProcess[str]:
    """Commands of somebody who has downloaded nothing."""
    env = dict(os.environ, HF_ENDPOINT=server.address, HF_HOME=str(home / 'hf'), HF_HUB_OFFLINE='0')
    env |= dict(PYTHONPATH=str(ROOT), COLUMNS='200')
    command = [sys.executable, '-c', COMMANDS, json.dumps(commands)]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_newcomers_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before what is asked for, once, and nothing is asked for offline."""
    monkeypatch.setattr(published, 'PLACES', (*published.PLACES, 'tests.'))
    save_colour_model(tmp_path / 'model')
    trained = publish(
        tmp_path / 'model/config.py', tmp_path / 'model/weights.pth', tmp_path / 'trained'
    )
    clip = save_encoder(tmp_path / 'clip')
    (clip / 'vocabulary.txt').write_bytes(bytes(3_400_000))
    (clip / 'pytorch_model.bin').write_bytes(bytes(9_000_000))  # is not wanted
    wanted = sorted(path.name for path in clip.iterdir() if path.suffix != '.bin')
    write_film(tmp_path / 'films/one.mp4', ['red', 'black'])

    index, search = ('index', 'films', '--device', 'cpu', '--model'), ('search', 'red', '--json')
    commands = [
        (*index, 'tests/other', '--offline'),
        (*index, 'tests/none'),
        (*index, 'tests/clip'),
        search,
        (*search, '--offline'),
        (*index, 'tests/trained', '--index', 'second'),
        (*search, '--index', 'second', '--offline'),
    ]
    with hub({'tests/clip': clip, 'tests/other': clip, 'tests/trained': trained}) as server:
        done = as_newcomer(tmp_path, server, commands)
    ends = [int(line.split()[-1]) for line in done.stdout.splitlines() if 'ended with' in line]
    assert ends == [2, 2, 0, 0, 0, 0, 0], done.stderr
    assert 'tests/other is neither a folder' in done.stderr
    assert 'leave --offline out to download it' in done.stderr
    assert 'tests/none cannot be downloaded (' in done.stderr
    place, licence = f'{server.address}/tests/clip', 'licence: cc0-1.0'
    assert done.stderr.count(f'downloading tests/clip from {place}: 3 MB, {licence}\n') == 1
    assert done.stderr.count('downloading ') == 2
    assert done.stdout.count('1 added') == 2
    assert done.stdout.count('"rank": 1,') == 3
    assert '"probability": 0.' in done.stdout  # of the trained one
    files = [one for one in server.asked if one.startswith('GET /tests/clip/resolve/')]
    assert sorted(one.rpartition('/')[2] for one in files) == wanted
    assert not any('tests/other' in one for one in server.asked)
    about = server.asked.index('GET /api/models/tests/clip')
    assert about < min(map(server.asked.index, files))


@pytest.mark.parametrize('name', ['tests/none', 'tests/no such: name'])
def test_a_hub_that_does_not_answer_is_one_line(name: str, tmp_path: Path) -> None:
    """Whatever its client raises, which has changed from release to release."""
    code = (
        'from demul_mm.cli import run_tool\n'
        'from demul_mm.hub import fetch\n'
        f'run_tool(lambda: fetch({name!r}))'
    )
    env = dict(os.environ, HF_ENDPOINT='http://127.0.0.1:9', HF_HUB_OFFLINE='0')
    env |= dict(HF_HOME=str(tmp_path), PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f'error: {name} cannot be downloaded (')
    assert 'give the folder of a model instead' in done.stderr
    assert 'Traceback' not in done.stderr
