"""The command: what it prints, and its exit codes."""

import inspect
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import typer
from mmengine.logging import MMLogger
from typer.testing import CliRunner

from demul_mm.app import show
from demul_mm.app.alerts import Alerts
from demul_mm.app.commands import moments
from demul_mm.app.library import Library, Report
from demul_mm.app.main import app
from demul_mm.zero_shot.scorers import DEFAULT_SCORER, SCORERS
from tests.app.encoders import save_encoder
from tests.app.films import ColourEncoder, write_film, write_subtitles
from tests.warm import run_warm

ROOT = Path(__file__).resolve().parents[2]
RUN = 'from demul_mm.app.main import main; main()'
HEAVY = ('torch', 'transformers', 'mmaction', 'cv2', 'scipy', 'av', 'fastapi', 'uvicorn', 'mcp')


def demul(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_warm(
        sys.executable, '-c', RUN, *arguments, cwd=cwd, env=dict(os.environ, COLUMNS='200')
    )


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp('home')
    save_encoder(home / 'encoder')
    write_film(home / 'films/one.mp4', ['red', 'black', 'blue'])
    write_subtitles(home / 'films/one.srt', [(1, 2, 'a dog leaves')])
    (home / 'films/broken.mp4').write_bytes(b'no film')
    return home


def test_help_is_light(tmp_path: Path) -> None:
    code = f'import sys, demul_mm.app.main; print([m for m in {HEAVY} if m in sys.modules])'
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    assert done.stdout.strip() == '[]', done.stderr
    shown = demul('--help', cwd=tmp_path)
    assert shown.returncode == 0
    for name in (
        'index',
        'search',
        'ask',
        'cut',
        'export',
        'info',
        'doctor',
        'encoders',
        'serve',
        'mcp',
        'alert',
    ):
        assert name in shown.stdout


def test_every_command_has_json() -> None:
    """But for the one that speaks a protocol in JSON."""
    group = typer.main.get_command(app)
    commands = {**group.commands.pop('alert').commands, **group.commands}
    without = {
        name
        for name, command in commands.items()
        if not any('--json' in option.opts for option in command.params)
    }
    assert without == {'mcp'}


@pytest.mark.parametrize('encoding', ['utf-8', 'cp1252', 'ascii'])
def test_json_is_json_on_every_console(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the entry prints what a console cannot show as an escape."""
    written, facts = io.BytesIO(), dict(query='狗 😀 café')
    console = io.TextIOWrapper(written, encoding=encoding, errors='backslashreplace')
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', console)
        show.facts(facts, as_json=True)
        console.flush()
    assert json.loads(written.getvalue().decode(encoding)) == facts


def test_the_scorers_of_ask_are_those_of_python() -> None:
    """The command names them itself, so that its --help loads nothing."""
    assert inspect.signature(moments.ask).parameters['scorer'].default == DEFAULT_SCORER
    shown = CliRunner().invoke(app, ['ask', '--help']).stdout
    assert all(name in shown for name in SCORERS)


@pytest.mark.slow
def test_asking_one_video_leaves_no_library_behind(home: Path, tmp_path: Path) -> None:
    film, encoder = home / 'films/one.mp4', home / 'encoder'
    done = demul('ask', film, 'red', '--encoder', encoder, '--device', 'cpu', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'scan' in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_newcomers_way(home: Path) -> None:
    done = demul('index', 'films', '--encoder', 'encoder', '--device', 'cpu', cwd=home)
    assert done.returncode == 1, done.stderr
    assert '1 added, 0 as before, 0 forgotten: 1 videos in demul_library' in done.stdout
    assert done.stderr.splitlines()[-1].startswith(f'  {home}/films/broken.mp4: cannot be opened')
    again = demul('index', '--json', '--device', 'cpu', cwd=home)
    assert again.returncode == 1
    report = json.loads(again.stdout)
    assert (report['added'], report['kept'], report['forgotten']) == (0, 2, 0)
    assert [Path(one['path']).name for one in report['broken']] == ['broken.mp4']

    found = demul('search', 'the dog', '-n', '2', '--json', '--device', 'cpu', cwd=home)
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert answer['query'] == 'the dog'
    assert [moment['rank'] for moment in answer['moments']] == [1, 2]
    assert [moment['probability'] for moment in answer['moments']] == [None] * 2
    assert {*answer['moments'][0]['terms']} <= {'picture', 'text'}
    assert any('one.srt: "a dog leaves"' in moment['why'] for moment in answer['moments'])
    shown = demul('search', 'the dog', '--only', 'text', cwd=home)
    assert shown.stdout.splitlines()[-1].split()[:4] == ['1', 'one.mp4', '0:01.0', '0:02.0']

    own = demul('ask', 'films/one.mp4', 'the dog', '--json', '--device', 'cpu', cwd=home)
    assert all(moment['video'].endswith('one.mp4') for moment in json.loads(own.stdout)['moments'])
    (home / 'found.json').write_text(found.stdout, encoding='utf-16')  # as PowerShell redirects
    for form in ('edl', 'otio'):
        done = demul('export', f'cuts.{form}', '--moments', 'found.json', '--json', cwd=home)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == dict(file=f'cuts.{form}', moments=2)
        assert 'the dog' in (home / f'cuts.{form}').read_text()
    done = demul('cut', 'films/one.mp4', 1, 2.5, 'cut.mp4', '--json', cwd=home)
    assert json.loads(done.stdout) == dict(file='cut.mp4', start=1.0, end=2.5)
    with av.open(str(home / 'cut.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12

    assert demul('info', cwd=home).stdout.count('broken.mp4') == 1
    facts = json.loads(demul('info', '--json', cwd=home).stdout)
    assert (facts['videos'], facts['lines_of_text'], len(facts['broken'])) == (1, 1, 1)


@pytest.mark.slow
def test_a_library_that_cannot_be_made_leaves_nothing(home: Path, tmp_path: Path) -> None:
    for arguments, told in (
        ((home / 'films', '--model', 'a/b', '--offline'), 'leave --offline out'),
        (('none', '--model', home / 'encoder'), 'is missing; nothing was changed'),
        ((), 'no folder was given'),
    ):
        done = demul('index', *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert told in done.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_alerts_from_the_command_line(home: Path, tmp_path: Path) -> None:
    films = tmp_path / 'films'
    write_film(films / 'one.mp4', ['red', 'black', 'blue'])
    model = ('--model', home / 'encoder', '--device', 'cpu')
    assert demul('index', films, *model, cwd=tmp_path).returncode == 0
    done = demul('alert', 'add', 'a dog', '--threshold', '-1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    write_film(films / 'two.mp4', ['blue', 'red'])
    shown = demul('index', '--device', 'cpu', cwd=tmp_path)
    assert 'alert 1 "a dog": two.mp4 ' in shown.stdout
    (row,) = json.loads(demul('alert', 'list', '--json', cwd=tmp_path).stdout)
    assert (row['id'], row['sentence'], row['threshold']) == (1, 'a dog', -1)
    assert demul('alert', 'run', cwd=tmp_path).stdout == ''
    assert demul('alert', 'remove', 1, cwd=tmp_path).returncode == 0
    assert demul('alert', 'list', cwd=tmp_path).stdout == 'none\n'


@pytest.mark.slow
def test_mistakes_are_one_line(home: Path, tmp_path: Path) -> None:
    for arguments, told in (
        (('search', 'a dog'), 'there is no library in demul_library'),
        (('index', 'none', '--encoder', home / 'encoder'), 'is missing; nothing was changed'),
        (('index', home / 'films', '--encoder', 'a/b', '--offline'), 'leave --offline out'),
    ):
        done = demul(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert told in done.stderr
        assert 'Traceback' not in done.stderr
    assert demul('search', cwd=tmp_path).returncode == 2


def test_a_source_is_forgotten_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(tmp_path / 'films/one.mp4', ['red'])
    write_film(tmp_path / 'more/two.mp4', ['blue'])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('demul_mm.app.models.load_encoder', lambda *_: ColourEncoder())
    monkeypatch.setattr('demul_mm.app.show.set_logging', lambda *_: None)  # it outlives the runner

    def index(*arguments: str) -> dict:
        return json.loads(CliRunner().invoke(app, ['index', '--json', *arguments]).stdout)

    assert index('films', 'more')['added'] == 2
    (tmp_path / 'more/two.mp4').unlink()
    (told,) = index()['broken']
    assert told['path'] == str(tmp_path / 'more')
    assert told['error'].endswith(f'demul index --forget {tmp_path / "more"})')
    assert index('--forget', 'more') == dict(added=0, kept=1, forgotten=1, broken=[], alerts=[])
    assert index() == dict(added=0, kept=1, forgotten=0, broken=[], alerts=[])
    for arguments, error in (
        (['--forget', 'more'], 'no source more was given'),
        (['films', '--forget', 'films'], '--forget goes alone'),
    ):
        with pytest.raises(ValueError, match=error):
            CliRunner().invoke(app, ['index', *arguments], catch_exceptions=False)


def test_watching_tells_a_line_of_each_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, whoever reads it; looks that change nothing are not told."""
    write_film(tmp_path / 'films/one.mp4', ['red', 'black'])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('demul_mm.app.models.load_encoder', lambda *_: ColourEncoder())

    def watch(library: Library, sources: list[Path], *_: object) -> Iterator[Report]:
        yield library.update(sources)
        Alerts(library).add('red', 0.9, old=True)
        yield Report(0, 1, 0, [])
        yield Report(0, 1, 0, [])
        yield Report(0, 1, 0, [('b.mp4', 'broken')])
        raise KeyboardInterrupt

    monkeypatch.setattr('demul_mm.app.watch.watch', watch)
    done = CliRunner().invoke(app, ['index', 'films', '--watch', '--json'])
    assert done.exit_code == 130
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line['added'] for line in lines] == [1, 0, 0]
    assert [len(line['alerts']) for line in lines] == [0, 1, 0]
    assert lines[2]['broken'] == [dict(path='b.mp4', error='broken')]
    assert done.stderr.endswith('the same command goes on from here\n')


def test_watching_outlives_alerts_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(tmp_path / 'films/one.mp4', ['red', 'black'])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('demul_mm.app.models.load_encoder', lambda *_: ColourEncoder())
    monkeypatch.setattr('demul_mm.app.show.set_logging', lambda *_: None)  # it outlives the runner
    said = list[str]()
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    run, room = Alerts.run, [True, False, False, True]

    def watch(library: Library, sources: list[Path], *_: object) -> Iterator[Report]:
        yield library.update(sources)
        Alerts(library).add('red', 0.9, old=True)
        for _ in range(3):
            yield Report(0, 1, 0, [])
        raise KeyboardInterrupt

    def full(*arguments: object) -> list:
        if room.pop(0):
            return run(*arguments)
        raise OSError('the disk is full')

    monkeypatch.setattr('demul_mm.app.watch.watch', watch)
    monkeypatch.setattr(Alerts, 'run', full)
    done = CliRunner().invoke(app, ['index', 'films', '--watch', '--json'])
    assert done.exit_code == 130
    assert [len(json.loads(line)['alerts']) for line in done.stdout.splitlines()] == [0, 1]
    assert said == ['alerts wait: the disk is full']
    room.append(False)
    with pytest.raises(OSError, match='the disk is full'):
        CliRunner().invoke(app, ['index', 'films'], catch_exceptions=False)


def test_small_tables(tmp_path: Path) -> None:
    rows = json.loads(demul('encoders', '--json', cwd=tmp_path).stdout)
    assert all(row['licence'] for row in rows)
    facts = json.loads(demul('doctor', '--json', cwd=tmp_path).stdout)
    assert facts['torch']
    assert facts['decoder'] == 'PyAV'
    assert facts['billion_products_a_second'] > 0
    assert facts['frames_decoded_a_second'] > 1
