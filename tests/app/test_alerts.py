"""Standing queries tell of each video once; watching leaves alone what is being written."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from demul_mm.app.alerts import Alerts, Event
from demul_mm.app.library import Library, Report
from demul_mm.app.sources import base, find_videos, resolve
from demul_mm.app.watch import watch
from tests.app.films import ColourEncoder, write_film


@pytest.fixture
def library(tmp_path: Path) -> Library:
    write_film(tmp_path / 'films/old.mp4', ['red', 'black'])
    library = Library(tmp_path / 'library', ColourEncoder)
    library.update([tmp_path / 'films'])
    return library


def test_new_videos_are_told_once(library: Library, tmp_path: Path) -> None:
    alerts, told = Alerts(library), list[Event]()
    alert = alerts.add('something red', 0.9)
    assert alerts.run(told.append) == []  # what was there before is not asked
    write_film(tmp_path / 'films/new.mp4', ['black', 'red', 'blue'])
    write_film(tmp_path / 'films/other.mp4', ['blue', 'black'])
    library.update()
    assert alerts.run(told.append) == told
    (event,) = told
    assert (event.alert, Path(event.video).name) == (alert.id, 'new.mp4')
    assert 3 <= event.start < event.end <= 6.01
    assert event.score >= 0.9
    assert Alerts(library).run(told.append) == []
    old = alerts.add('something red', 0.9, old=True)
    assert {Path(e.video).name for e in alerts.run(told.append)} == {'old.mp4', 'new.mp4'}
    alerts.remove(old.id)
    assert alerts.all() == [alert]
    with pytest.raises(ValueError, match='no alert 7; there are: 1'):
        alerts.remove(7)


def test_a_file_and_an_address(library: Library, tmp_path: Path) -> None:
    posted: list[dict] = []

    class Hook(BaseHTTPRequestHandler):
        status = 500

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            if self.status == 200:
                posted.append(content)
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(('127.0.0.1', 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    alerts = Alerts(library)
    address = f'http://127.0.0.1:{server.server_port}/'
    alerts.add('something red', 0.9, tmp_path / 'found.jsonl', old=True)
    alerts.add('something red', 0.9, webhook=address, old=True)
    told: list[Event] = []
    assert len(alerts.run(told.append)) == 1  # the address did not take it
    Hook.status = 200
    assert len(alerts.run(told.append)) == 1
    server.shutdown()
    (line,) = (tmp_path / 'found.jsonl').read_text().splitlines()
    assert json.loads(line)['video'].endswith('old.mp4')
    assert [dict(one, alert=1) for one in posted] == [json.loads(line)]
    assert told == []
    with pytest.raises(ValueError, match='https://'):
        alerts.add('red', 0.5, webhook='file:///etc/passwd')
    with pytest.raises(ValueError, match='is empty'):
        alerts.add(' ', 0.5)


def test_watching_waits_until_a_file_is_whole(tmp_path: Path) -> None:
    film = write_film(tmp_path / 'films/one.mp4', ['red', 'black']).read_bytes()
    library = Library(tmp_path / 'library', ColourEncoder)
    parts, reports = [film[:900], film[:2000], film], list[Report]()

    def wait(seconds: float) -> None:
        if len(reports) == 3:
            raise KeyboardInterrupt
        if parts:
            (tmp_path / 'films/new.mp4').write_bytes(parts.pop(0))

    with pytest.raises(KeyboardInterrupt):
        watch(library, [tmp_path / 'films'], 0.1, reports.append, wait=wait)
    assert [report.added for report in reports] == [0, 1, 1]
    assert all(report.broken == [] for report in reports)
    with pytest.raises(FileNotFoundError):
        watch(library, [tmp_path / 'nowhere'], 0.1, reports.append)


def test_globs(tmp_path: Path) -> None:
    for name in ('a.mp4', 'b/c.mp4', 'b/d/e.mov', 'b/f.srt', '.g/h.mp4', 'b/.i.mp4', 'x[1].mp4'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(glob: str) -> list[str]:
        root = tmp_path / glob
        return sorted(Path(path).relative_to(tmp_path).as_posix() for path in find_videos([root]))

    assert found('*.mp4') == ['a.mp4', 'x[1].mp4']
    assert found('**/*.mp4') == ['a.mp4', 'b/c.mp4', 'x[1].mp4']
    assert found('**') == ['a.mp4', 'b/c.mp4', 'b/d/e.mov', 'x[1].mp4']
    assert found('b/**/*.mo?') == ['b/d/e.mov']
    assert found('[!a]*/[cd]*') == ['b/c.mp4']
    assert found('x[1].mp4') == ['x[1].mp4']  # a file of that name
    assert base(tmp_path / 'b/**/*.mp4') == tmp_path / 'b'
    with pytest.raises(FileNotFoundError, match=r'nowhere is missing; nothing was changed'):
        resolve([tmp_path / 'nowhere/*.mp4'])


def test_a_glob_forgets_only_what_it_names(tmp_path: Path) -> None:
    for name in ('a.mp4', 'b.mov'):
        write_film(tmp_path / 'films' / name, ['red'])
    library = Library(tmp_path / 'library', ColourEncoder)
    library.update([tmp_path / 'films'])
    for name in ('a.mp4', 'b.mov'):
        (tmp_path / 'films' / name).unlink()
    assert library.update([tmp_path / 'films/*.mp4'])[:3] == (0, 0, 1)
    assert library.update()[:3] == (0, 0, 1)
