"""Standing queries tell of each video once; watching leaves alone what is being written."""

import errno
import http
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from mmengine.logging import MMLogger

from demul_mm.app.alerts import SCHEMA, Alerts, Event
from demul_mm.app.library import Library
from demul_mm.app.sources import base, find_videos, resolve
from demul_mm.app.watch import watch
from demul_mm.app.webhook import post
from tests.app.films import ColourEncoder, write_film, write_subtitles


@pytest.fixture
def library(tmp_path: Path) -> Library:
    write_film(tmp_path / 'films/old.mp4', ['red', 'black'])
    library = Library(tmp_path / 'library', ColourEncoder)
    library.update([tmp_path / 'films'])
    return library


class Receiver(HTTPServer):
    """Answers posts in one way after the other, the last for good; keeps what it took.

    An answer is a status, bytes that are no HTTP, or what gives the status for a content.
    """

    def __init__(self, *answers: int | bytes | Callable[[dict], int]) -> None:
        self.answers, self.taken, self.asked = list(answers), list[dict](), 0
        self.awake = threading.Event()
        self.awake.set()
        super().__init__(('127.0.0.1', 0), _Answer)
        self.address = f'http://127.0.0.1:{self.server_port}/secret'


class _Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        answers = self.server.answers
        self.server.asked += 1
        self.server.awake.wait()
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(content)
        if isinstance(answer, bytes):
            self.wfile.write(answer)
            return
        if answer == 200:
            assert self.headers['User-Agent'].startswith('demul/')
            self.server.taken.append(content)
        self.send_response(answer)
        self.send_header('Location', '/elsewhere')
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver(*answers: int | bytes | Callable[[dict], int]) -> Iterator[Receiver]:
    with Receiver(*answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ('answers', 'asked', 'told'),
    [
        ((200,), 1, None),
        ((500, b'', b'no HTTP\r\n\r\n', 200), 4, None),
        ((429,), 4, 'Too Many Requests'),
        ((404,), 1, 'Not Found'),
        ((b'no HTTP\r\n\r\n',), 4, r'\(no HTTP\)'),
        ((302,), 1, 'moved to /elsewhere'),
        ((307,), 1, 'moved to /elsewhere'),
    ],
)
def test_posting(answers: tuple, asked: int, told: str | None) -> None:
    with receiver(*answers) as hook:
        if told is None:
            post(hook.address, dict(text='é'), (0, 0, 0))
        else:
            with pytest.raises(OSError, match=told) as error:
                post(hook.address, {}, (0, 0, 0))
            assert 'secret' not in str(error.value)
    assert (hook.asked, hook.taken) == (asked, [] if told else [dict(text='é')])


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('demul_mm.app.webhook.TIMEOUT', 0.05)
    with Receiver(200) as silent, pytest.raises(OSError, match=r'127.0.0.1 did not .*timed out'):
        post(silent.address, {}, (0,))
    with pytest.raises(OSError, match=r'not take it \(\[Errno \d+\] Connection refused\)'):
        post(silent.address, {}, (0,))


@pytest.mark.parametrize(
    'address',
    [
        'file:///etc/passwd',
        'http://',
        'https://a b.org/',
        'https://é.org',
        'http://a:x/',
        'http://n@h/',
    ],
)
def test_addresses_that_cannot_be_posted_to(library: Library, address: str) -> None:
    with pytest.raises(ValueError, match='https://'):
        Alerts(library).add('red', 0.5, webhook=address)


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


def test_subtitles_that_come_later_make_no_video_new(library: Library, tmp_path: Path) -> None:
    """What is written anew may be another film of that name, and is asked anew."""
    alerts, told = Alerts(library), list[Event]()
    alerts.add('something red', 0.9)
    write_film(tmp_path / 'films/new.mp4', ['red', 'blue'])
    library.update()
    assert len(alerts.run(told.append)) == 1
    for name in ('old.srt', 'new.en.srt'):
        write_subtitles(tmp_path / 'films' / name, [(1, 2, 'red')])
    assert library.update()[:2] == (2, 0)
    assert alerts.run(told.append) == []
    write_film(tmp_path / 'films/old.mp4', ['blue', 'red', 'black'])
    library.update()
    assert [Path(event.video).name for event in alerts.run(told.append)] == ['old.mp4']


def test_a_file_and_an_address(library: Library, tmp_path: Path) -> None:
    alerts = Alerts(library, wait=lambda seconds: None)
    with receiver(500) as hook:
        alerts.add('something red', 0.9, tmp_path / 'found.jsonl', old=True)
        alerts.add('something red', 0.9, webhook=hook.address, old=True)
        told: list[Event] = []
        assert len(alerts.run(told.append)) == 1  # the address did not take it
        hook.answers = [200]
        assert len(Alerts(library).run(told.append)) == 1
    (line,) = (tmp_path / 'found.jsonl').read_text().splitlines()
    assert json.loads(line)['video'].endswith('old.mp4')
    assert [dict(one, alert=1) for one in hook.taken] == [json.loads(line)]
    assert told == []
    with pytest.raises(ValueError, match='is empty'):
        alerts.add(' ', 0.5)
    for threshold in (float('nan'), float('inf')):
        with pytest.raises(ValueError, match=f'threshold is {threshold}; give a number'):
            alerts.add('red', threshold)
    assert len(alerts.all()) == 2
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        alerts.add('red', 0.5, tmp_path / 'nowhere/found.jsonl')
    with pytest.raises(ValueError, match='films is a folder; give a file'):
        alerts.add('red', 0.5, tmp_path / 'films')


def test_an_address_is_not_told_while_the_file_cannot_be(library: Library, tmp_path: Path) -> None:
    """It would be told the same again by each run."""
    with receiver(200) as hook:
        Alerts(library).add('red', 0.9, tmp_path / 'found.jsonl', hook.address, old=True)
        (tmp_path / 'found.jsonl').mkdir()
        for _ in range(2):
            assert Alerts(library).run(print) == []
        assert hook.taken == []
        (tmp_path / 'found.jsonl').rmdir()
        assert len(Alerts(library).run(print)) == len(hook.taken) == 1
    assert len((tmp_path / 'found.jsonl').read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_is_tried_once(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each video, with or without an address; then it rests."""
    write_film(tmp_path / 'films/new.mp4', ['red', 'blue'])
    library.update()
    asked, said, now = list[str](), list[str](), [0.0]
    ask = library.ask_kept
    monkeypatch.setattr(library, 'ask_kept', lambda key, *a: (asked.append(key), ask(key, *a))[1])
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    alerts = Alerts(library, clock=lambda: now[0])
    with receiver(200) as hook:
        for address in (None, hook.address):
            file = tmp_path / f'{address is None}.jsonl'
            alerts.add('red', 0.9, file, address, old=True)
            file.mkdir()
        for now[0], tries in ((0, 1), (59, 1), (60, 2)):
            assert alerts.run(print) == []
            assert len(asked) == len(said) == 2 * tries
        assert hook.taken == []
        for file in tmp_path.glob('*.jsonl'):
            file.rmdir()
        now[0] = 1e6
        assert len(alerts.run(print)) == 4
        assert len(hook.taken) == 2


def test_an_address_that_fails_holds_up_nothing_else(library: Library, tmp_path: Path) -> None:
    """It gets few tries, then rests, longer each time; what it did not take is kept for it."""
    write_film(tmp_path / 'films/new.mp4', ['red', 'blue'])
    library.update()
    now, waits, told = [0.0], list[float](), list[Event]()
    alerts = Alerts(library, wait=waits.append, clock=lambda: now[0])
    with receiver(500) as hook:
        alerts.add('something red', 0.9, tmp_path / 'both.jsonl', hook.address, old=True)
        alerts.add('red', 0.9, webhook=hook.address, old=True)
        alerts.add('something red', 0.9, old=True)
        assert len(alerts.run(told.append)) == len(told) == 2  # of the third
        assert (hook.asked, waits) == (3, [1.0, 4.0])
        for now[0], asked in ((59, 3), (60, 4), (179, 4), (180, 5)):
            assert alerts.run(told.append) == []
            assert hook.asked == asked
        now[0], hook.answers = 1e6, [200]
        assert len(alerts.run(told.append)) == 4
        assert (hook.asked, waits) == (9, [1.0, 4.0])
    assert len((tmp_path / 'both.jsonl').read_text().splitlines()) == 2  # not once for each try


@pytest.mark.parametrize('status', [401, 403, 404, 405, 407, 410])
def test_an_address_that_is_gone_rests_as_a_whole(
    library: Library, tmp_path: Path, status: int
) -> None:
    """Such an answer is about the address: other moments would fare no better."""
    write_film(tmp_path / 'films/new.mp4', ['red', 'blue'])
    library.update()
    now = [0.0]
    alerts = Alerts(library, clock=lambda: now[0])
    with receiver(status) as hook:
        alerts.add('something red', 0.9, webhook=hook.address, old=True)
        for now[0], asked in ((0, 1), (59, 1), (60, 2), (179, 2), (180, 3)):
            assert alerts.run(print) == []
            assert hook.asked == asked
        now[0], hook.answers = 1e6, [200]
        assert len(alerts.run(print)) == 2


@pytest.mark.parametrize('status', [400, 409, 422, 451])
def test_a_moment_that_is_refused_holds_up_no_other(
    library: Library, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone rests, longer each time, and is posted once it would be taken."""
    now, said, bad = [0.0], list[str](), ['a.mp4', 'old.mp4']
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    alerts = Alerts(library, clock=lambda: now[0])

    def answer(content: dict) -> int:
        bad_one = content['alert'] == 1 and Path(content['video']).name in bad
        return status if bad_one else 200

    def add(name: str) -> None:
        write_film(tmp_path / 'films' / name, ['red', 'blue'])
        library.update()

    def taken() -> list[tuple[int, str]]:
        events = alerts.run(print)
        assert len(events) == len(hook.taken)
        told = [(one['alert'], Path(one['video']).name) for one in hook.taken]
        hook.taken.clear()
        return told

    with receiver(answer) as hook:
        for _ in range(2):
            alerts.add('something red', 0.9, webhook=hook.address, old=True)
        add('a.mp4')
        add('b.mp4')
        assert taken() == [(1, 'b.mp4'), (2, 'a.mp4'), (2, 'b.mp4'), (2, 'old.mp4')]
        assert said == [
            'alert 1 could not yet be told of a.mp4 and 1 more: '
            f'127.0.0.1 did not take it (HTTP Error {status}: {http.HTTPStatus(status).phrase})'
        ]
        add('c.mp4')
        assert taken() == [(1, 'c.mp4'), (2, 'c.mp4')]
        for now[0], asked in ((59, 8), (60, 10), (179, 10), (180, 12)):
            assert taken() == []
            assert hook.asked == asked
        now[0] = 1e6
        bad.clear()
        assert taken() == [(1, 'a.mp4'), (1, 'old.mp4')]
        assert Alerts(library).run(print) == []


def test_an_address_that_hangs_holds_nobody_up(library: Library, tmp_path: Path) -> None:
    """What it takes late is in what a later run returns, and is posted once."""
    write_film(tmp_path / 'films/new.mp4', ['red', 'blue'])
    library.update()
    alerts, told = Alerts(library), list[Event]()
    with receiver(200) as hook:
        hook.awake.clear()
        alerts.add('something red', 0.9, tmp_path / 'late.jsonl', hook.address, old=True)
        alerts.add('red', 0.9, old=True)
        assert alerts.run(told.append, patience=0) == told
        assert [event.alert for event in told] == [2, 2]
        assert alerts.run(told.append, patience=0) == []
        assert not (tmp_path / 'late.jsonl').exists()
        hook.awake.set()
        assert [event.alert for event in alerts.run(told.append)] == [1, 1]
        assert hook.asked == len(hook.taken) == 2
    assert len((tmp_path / 'late.jsonl').read_text().splitlines()) == 2
    assert Alerts(library).run(told.append) == []
    assert len(told) == 2


def test_alerts_of_a_library_on_a_share_do_without_a_log(tmp_path: Path) -> None:
    """As its catalogue does: shares do not keep SQLite's in step."""
    for name, milvus, mode in (('here', None, 'wal'), ('there', 'http://there:1', 'delete')):
        library = Library(tmp_path / name, ColourEncoder, milvus=milvus)
        alerts = Alerts(library)
        alerts.add('red', 0.5)
        for db in (alerts._db, library.catalogue._db):
            assert db.execute('PRAGMA journal_mode').fetchone() == (mode,)


def test_a_log_that_another_process_holds_open_is_left_for_later(tmp_path: Path) -> None:
    """A version before kept one also for a library on a share."""
    library = Library(tmp_path / 'library', ColourEncoder, milvus='http://there:1')
    with closing(sqlite3.connect(library.path / 'alerts.sqlite')) as other:
        other.execute('PRAGMA journal_mode = WAL')
        other.executescript(SCHEMA)
        with closing(Alerts(library)._db) as db:
            assert db.execute('SELECT * FROM alerts').fetchall() == []
    alerts = Alerts(library)
    assert alerts._db.execute('PRAGMA journal_mode').fetchone() == ('delete',)


def test_telling_can_be_ended(library: Library) -> None:
    def check() -> None:
        if hook.asked:
            raise InterruptedError

    alerts = Alerts(library)
    with receiver(200) as hook:
        hook.awake.clear()
        alerts.add('something red', 0.9, webhook=hook.address, old=True)
        with pytest.raises(InterruptedError):
            alerts.run(lambda event: None, check=check)
        hook.awake.set()
    with receiver(200) as hook:
        alerts.add('red', 0.9, old=True)
        hook.asked = 1
        with pytest.raises(InterruptedError):
            alerts.run(lambda event: None, check=check)


def test_an_alert_may_be_removed_and_a_video_go_meanwhile(library: Library, tmp_path: Path) -> None:
    alerts = Alerts(library)
    number = alerts.add('something red', 0.9, old=True).id
    (tmp_path / 'films/old.mp4').unlink()
    assert len(alerts.run(lambda event: Alerts(library).remove(number))) == 1
    assert alerts.all() == []


def test_watching_waits_until_a_file_is_whole(tmp_path: Path) -> None:
    film = write_film(tmp_path / 'films/one.mp4', ['red', 'black']).read_bytes()
    library = Library(tmp_path / 'library', ColourEncoder)
    parts = [film[:900], film[:2000], film, film, film]

    def wait(seconds: float) -> None:
        if part := parts.pop(0):
            (tmp_path / 'films/new.mp4').write_bytes(part)
            os.utime(tmp_path / 'films/new.mp4', (len(part), len(part)))

    looks = watch(library, [tmp_path / 'films'], 0.1, wait=wait)
    assert [next(looks) for _ in range(6)] == [
        (0, 0, 0, []),
        (1, 0, 0, []),
        (0, 1, 0, []),
        (0, 1, 0, []),
        (1, 1, 0, []),
        (0, 2, 0, []),
    ]
    with pytest.raises(FileNotFoundError):
        next(watch(library, [tmp_path / 'nowhere'], 0.1))


def test_watching_outlives_what_goes_wrong(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing folder, another update, a broken file, which is told and retried once."""
    films, said = tmp_path / 'films', list[str]()
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    (films / 'broken.mp4').write_bytes(b'no film')
    library.update()
    busy = FileLock(library.path / 'update.lock')
    happens = [
        lambda: films.rename(tmp_path / 'away'),
        lambda: None,
        lambda: ((tmp_path / 'away').rename(films), busy.acquire()),
        lambda: None,
        lambda: (busy.release(), (films / 'broken.mp4').write_bytes(b'none')),
        lambda: None,
        lambda: None,
    ]
    puts, put = list[str](), library.catalogue.put
    monkeypatch.setattr(
        library.catalogue, 'put', lambda path, *a, **b: (puts.append(path), put(path, *a, **b))
    )
    looks = watch(library, [films], 0.1, wait=lambda seconds: happens.pop(0)())
    told = [[Path(path).name for path, _ in next(looks).broken] for _ in range(4)]
    assert told == [['broken.mp4'], [], ['broken.mp4'], []]
    missing, other = said
    assert missing == (
        f'will look again: {films} is missing; nothing was changed; if it is gone for good: demul '
        f'index --forget {films}'
    )
    assert other.startswith('will look again: another process is updating')
    assert len(puts) == 1
    again = watch(library, [films], 0.1, retry=True, wait=lambda seconds: None)
    assert [len(next(again).broken) for _ in range(4)] == [1, 0, 0, 0]
    assert len(puts) == 2


def test_what_cannot_be_looked_at_is_listed(library: Library, tmp_path: Path) -> None:
    """It stops nothing, and a link whose disk is away is not forgotten."""
    films, elsewhere = tmp_path / 'films', write_film(tmp_path / 'disk/a.mp4', ['blue'])
    (films / 'link.mp4').symlink_to(elsewhere)
    (films / 'link.srt').symlink_to(tmp_path / 'nowhere.srt')
    (films / os.fsdecode(b'link.caf\xe9.srt')).touch()
    assert library.update() == (1, 1, 0, [])
    (tmp_path / 'disk').rename(tmp_path / 'away')
    (films / os.fsdecode(b'caf\xe9.mp4')).touch()
    write_film(films / 'new.mp4', ['red'])
    report = library.update()
    assert report[:3] == (1, 1, 0)
    assert [(Path(path).name, error) for path, error in report.broken] == [
        ('caf\\udce9.mp4', 'its name is no valid UTF-8; rename it'),
        ('link.mp4', f'it is a link to {elsewhere}, which is missing'),
    ]
    assert len(library.catalogue.videos('indexed')) == 3
    (tmp_path / 'away').rename(tmp_path / 'disk')
    (films / os.fsdecode(b'caf\xe9.mp4')).unlink()
    assert library.update() == (0, 3, 0, [])


def test_a_full_disk_is_no_fault_of_a_video(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    write_film(tmp_path / 'films/new.mp4', ['red'])
    with monkeypatch.context() as patch:
        patch.setattr('demul_mm.app.video_model.FrameModel.write', write)
        with pytest.raises(OSError, match='library cannot grow: No space left'):
            library.update()
    assert library.update() == (1, 1, 0, [])


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


def test_a_folder_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    """Below it a glob finds what it names; if it goes missing, nothing is forgotten."""
    films = tmp_path / 'Films [HD]'
    for name in ('a.mp4', 'b.mov'):
        write_film(films / name, ['red'])
    library = Library(tmp_path / 'library', ColourEncoder)
    assert library.update([films / '*.mp4'])[:3] == (1, 0, 0)
    assert library.update([films])[:3] == (1, 1, 0)
    (films / 'b.mov').unlink()
    assert library.update()[:3] == (0, 1, 1)
    films.rename(tmp_path / 'away')
    for sources in ([], films, films / '*.mp4'):
        with pytest.raises(FileNotFoundError, match=r'Films \[HD\] is missing; nothing'):
            library.update(sources)
    (tmp_path / 'away').rename(films)
    assert library.update()[:3] == (0, 1, 0)
    with pytest.raises(FileNotFoundError, match='none is missing'):
        resolve(films / 'none')


def test_a_glob_forgets_only_what_it_names(tmp_path: Path) -> None:
    for name in ('a.mp4', 'b.mov', 'c.mp4'):
        write_film(tmp_path / 'films' / name, ['red'])
    library = Library(tmp_path / 'library', ColourEncoder)
    library.update([tmp_path / 'films'])
    for name in ('a.mp4', 'b.mov'):
        (tmp_path / 'films' / name).unlink()
    assert library.update([tmp_path / 'films/*.mp4'])[:3] == (0, 1, 1)
    assert library.update()[:3] == (0, 1, 1)
