"""REST gives what the library gives, to whom it may."""

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from demul_mm.app.alerts import Alerts, Event
from demul_mm.app.library import Library
from demul_mm.server import api, guard, updates
from demul_mm.server.service import Service
from demul_mm.video.cutting import cut
from tests.app.films import ColourEncoder, write_film
from tests.server.homes import make_home, open_service

HERE = 'http://127.0.0.1:8000'
WRITES = (('post', '/api/search'), ('post', '/api/update'), ('delete', '/api/update'))
TOKEN = 'a-token-of-enough-letters'


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp('home'))


@pytest.fixture(scope='module')
def service(home: Path) -> Service:
    return open_service(home)


@pytest.fixture(scope='module')
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(api.create_app(service), base_url=HERE) as client:
        yield client


def search(client: TestClient, query: str, **options: object) -> list[dict]:
    answer = client.post('/api/search', json=dict(query=query, **options))
    assert answer.status_code == 200, answer.text
    return answer.json()['moments']


@pytest.fixture(scope='module')
def red(client: TestClient) -> dict:
    """The moment of the red film."""
    return search(client, 'red')[0]


def frames_of(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize('kinds', [['picture'], ['text'], ['picture', 'text']])
def test_a_search_is_that_of_the_library(client: TestClient, service: Service, kinds) -> None:
    found = search(client, 'red', number=7, kinds=kinds)
    hits = service.library.search('red', 7, kinds)
    assert [(one['video'], one['path'], one['why']) for one in found] == [
        (hit.key, hit.path, list(hit.why)) for hit in hits
    ]
    for one, hit in zip(found, hits):
        assert (one['probability'], one['terms'].keys()) == (None, hit.terms.keys())
        assert (one['start'], one['end']) == pytest.approx((hit.start, hit.end), abs=1e-3)
    assert [one['rank'] for one in found] == list(range(1, len(hits) + 1))


def test_yes_and_no_are_those_of_the_library(client: TestClient, service: Service, red) -> None:
    span = (red['video'], red['start'], red['end'])
    said = dict(zip(('video', 'start', 'end'), span))
    without = search(client, 'red', disliked=[said])
    assert span not in [(one['video'], one['start'], one['end']) for one in without]
    hits = service.library.search('blue', 20, liked=[span])
    assert [one['video'] for one in search(client, 'blue', liked=[said])] == [h.key for h in hits]


def test_one_video_is_asked(client: TestClient, service: Service, red) -> None:
    asked = client.post(f'/api/videos/{red["video"]}/ask', json=dict(query='red')).json()
    best = service.library.ask(red['path'], 'red')[0]
    assert asked['moments'][0]['start'] == pytest.approx(best.start, abs=1e-3)
    assert asked['moments'][0]['name'] == 'one.mp4'


def test_the_curve_is_high_where_the_moment_is(client: TestClient, red) -> None:
    curve = client.get(f'/api/videos/{red["video"]}/curve', params=dict(query='red')).json()
    assert curve['duration'] == pytest.approx(9, abs=0.1)
    scores = np.array(curve['scores'])
    assert len(scores) == 9
    assert scores[3:6].min() > scores[[0, 1, 2, 6, 7, 8]].max()


def test_the_word_that_found_it_has_the_share(client: TestClient, red) -> None:
    url = f'/api/videos/{red["video"]}/words'
    for query, shares in (('a red or black thing!', [0, 1, 0, 0, 0]), ('red', [1]), ('...', [])):
        asked = dict(query=query, start=4, end=5)
        words = client.get(url, params=asked).json()
        assert [one['word'] for one in words] == re.findall(r'\w+', query)
        assert [one['share'] for one in words] == shares
    late = client.get(url, params=dict(query='red', start=99, end=999))
    assert late.status_code == 200  # the last frame, whatever it shows


def test_words_of_the_latest_second(tmp_path: Path) -> None:
    """Of two frames a second, it is none that has a number."""
    write_film(tmp_path / 'films/one.mp4', ['black', 'red'])
    Library(tmp_path / 'library', ColourEncoder, seconds=0.5).update([tmp_path / 'films'])
    service = Service(tmp_path / 'library', ColourEncoder)
    (row,) = service.library.catalogue.videos()
    (word,) = service.words(row.key, 'red', 1e308, 1.5e308)
    assert word == dict(word='red', share=1)


def test_a_film_is_played_from_any_byte(client: TestClient, red) -> None:
    url, whole = f'/api/videos/{red["video"]}/file', Path(red['path']).read_bytes()
    answer = client.get(url)
    assert (answer.status_code, answer.content) == (200, whole)
    assert answer.headers['content-type'] == 'video/mp4'
    for asked, expected in (
        ('bytes=0-9', whole[:10]),
        ('bytes=100-', whole[100:]),
        ('bytes=-7', whole[-7:]),
    ):
        part = client.get(url, headers=dict(range=asked))
        assert (part.status_code, part.content) == (206, expected)
    assert client.get(url, headers=dict(range=f'bytes={len(whole)}-')).status_code == 416


def test_a_sheet_shows_the_seconds_asked_for(client: TestClient, red) -> None:
    url = f'/api/videos/{red["video"]}/sheet'
    answer = client.get(url, params=dict(start=0, end=9, count=3, height=32))
    assert answer.headers['content-type'] == 'image/jpeg'
    sheet = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (32, 96, 3)
    assert [int(sheet[16, 16 + 32 * i, 2]) > 150 for i in range(3)] == [False, True, False]
    far = client.get(url, params=dict(start=0, end=1e308, count=3, height=32))
    assert cv2.imdecode(np.frombuffer(far.content, np.uint8), cv2.IMREAD_COLOR).shape == (32, 96, 3)
    for bad in (dict(start=5, end=4), dict(start=-1, end=4), dict(start=0, end=4, count=1000)):
        assert client.get(url, params=bad).status_code in (400, 422)


def test_a_cut_has_the_frames_asked_for(client: TestClient, red) -> None:
    url = f'/api/videos/{red["video"]}/cut'
    answer = client.get(url, params=dict(start=3.5, end=5))
    assert 'one_3.50-5.00.mp4' in answer.headers['content-disposition']
    assert frames_of(answer.content) == 12
    assert frames_of(client.get(url, params=dict(start=8, end=99)).content) == 8
    part = client.get(url, params=dict(start=3.5, end=5), headers=dict(range='bytes=0-9'))
    assert part.content == answer.content[:10]  # the same file is played from any byte
    for bad in (dict(start=5, end=5), dict(start=50, end=60), dict(start=0, end=9999)):
        assert client.get(url, params=bad).status_code == 400


def test_who_asks_for_the_same_cut_waits_for_it(
    service: Service, red: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = Path(service._folder.name), list[Path]()

    def slow(source: str, target: Path, *rest: Any) -> None:
        made.append(target)
        time.sleep(0.1)
        cut(source, target, *rest)

    monkeypatch.setattr('demul_mm.server.service.cut', slow)
    before = set(folder.iterdir())
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda _: service.cut(red['video'], 3.25, 4.5)[0], range(4)))
    assert made == files[:1]
    assert len(set(files)) == 1
    assert set(folder.iterdir()) - before == set(files)


def test_a_selection_is_exported(client: TestClient, red) -> None:
    request = dict(query='red', moments=[red], form='json', padding=1)
    answer = client.post('/api/export', json=request)
    assert 'filename="moments.json"' in answer.headers['content-disposition']
    (moment,) = json.loads(answer.text)['moments']
    assert moment['video'] == red['path']
    assert (moment['start'], moment['end']) == (red['start'] - 1, red['end'] + 1)
    assert (
        '* FROM CLIP NAME: one.mp4'
        in client.post('/api/export', json=dict(request, form='edl')).text
    )
    assert client.post('/api/export', json=dict(request, form='exe')).status_code == 400


@pytest.mark.parametrize(
    'video', ['nothing', '..', '../../secret.txt', '%2e%2e%2fsecret.txt', '/etc/passwd', 'a%00b']
)
def test_only_videos_of_the_library_are_given(client: TestClient, video: str) -> None:
    for what in ('file', 'sheet?start=0&end=1', 'cut?start=0&end=1', 'curve?query=red'):
        answer = client.get(f'/api/videos/{video}/{what}')
        assert answer.status_code == 404
        assert 'a secret' not in answer.text
    for path in ('/page/../api.py', '/page/%2e%2e/api.py', '/page/%2e%2e%2fapi.py', '/page/'):
        assert client.get(path).status_code == 404


def test_a_link_out_of_the_folders_is_not_followed(tmp_path: Path) -> None:
    film = write_film(tmp_path / 'elsewhere/a.mp4', ['red'])
    (tmp_path / 'films').mkdir()
    (tmp_path / 'films/link.mp4').symlink_to(film)
    service = Service(tmp_path / 'library', ColourEncoder, allowed=[tmp_path])
    service.library.update([tmp_path / 'films'])
    (row,) = service.library.catalogue.videos('indexed')
    client = TestClient(api.create_app(service), base_url=HERE)
    assert client.get(f'/api/videos/{row.key}/file').status_code == 404
    film.unlink()
    service.library.catalogue.set('roots', [str(tmp_path)])
    assert client.get(f'/api/videos/{row.key}/file').status_code == 404


def test_films_of_a_glob_are_given(tmp_path: Path) -> None:
    """And neither what it does not match nor what a link of such a name leads to."""
    film = write_film(tmp_path / 'films/below/one.mp4', ['black', 'red'])
    (tmp_path / 'films/link.mp4').symlink_to(write_film(tmp_path / 'films/other.mov', ['red']))
    service = Service(tmp_path / 'library', ColourEncoder, allowed=[tmp_path])
    service.library.update([tmp_path / 'films/**/*.mp4'])
    keys = {Path(row.path).name: row.key for row in service.library.catalogue.videos('indexed')}
    client = TestClient(api.create_app(service), base_url=HERE)
    url = f'/api/videos/{keys["one.mp4"]}'
    assert client.get(f'{url}/file').content == film.read_bytes()
    for what in ('sheet?start=1&end=2', 'cut?start=1&end=2', 'curve?query=red'):
        assert client.get(f'{url}/{what}').status_code == 200
    assert client.post(f'{url}/ask', json=dict(query='red')).json()['moments']
    assert client.get(f'/api/videos/{keys["link.mp4"]}/file').status_code == 404


@pytest.mark.parametrize(('method', 'path'), WRITES)
@pytest.mark.parametrize(
    'headers',
    [
        {'Origin': 'http://evil.example'},
        {'Origin': 'null'},
        {'Origin': 'http://127.0.0.1:9999'},
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
    ],
)
def test_another_page_may_not_ask(client: TestClient, method, path, headers) -> None:
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == 403
    assert client.get('/api/library', headers=headers).status_code == 403


def test_a_name_that_was_made_to_point_here_is_refused(client: TestClient) -> None:
    for host, status in (
        ('evil.example', 421),
        ('evil.example:8000', 421),
        ('[bad', 421),
        ('', 421),
        ('localhost:8000', 200),
        ('192.168.1.7:8000', 200),
        ('[::1]:8000', 200),
    ):
        assert client.get('/api/update', headers=dict(host=host)).status_code == status, host


def test_an_origin_that_is_no_address_is_refused(client: TestClient) -> None:
    for origin in ('http://[::1', 'http://[x]'):
        assert client.get('/api/library', headers=dict(origin=origin)).status_code == 403


def test_a_link_from_elsewhere_opens_the_page_alone(client: TestClient) -> None:
    headers = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate'}
    assert client.get('/', headers=headers).status_code == 200
    assert client.get('/page/page.js', headers=headers).status_code == 403


def test_the_page_runs_no_script_but_its_own(client: TestClient) -> None:
    page = client.get('/')
    policy = page.headers['content-security-policy']
    assert "default-src 'none'" in policy
    assert 'unsafe' not in policy
    assert 'style=' not in page.text
    assert page.text.count('<script') == page.text.count('<script src="/page/') > 0
    assert ' on' not in page.text.replace(' one', '').replace(' only', '').replace(' on ', '')


def test_elsewhere_a_token_is_asked_for(service: Service) -> None:
    client = TestClient(api.create_app(service, '0.0.0.0', TOKEN), base_url=HERE)
    for path in ('/', '/page/page.js', '/api/library', '/openapi.json'):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=dict(authorization='Bearer wrong')).status_code == 401
        bearer = {'Authorization': f'Bearer {TOKEN}'}
        assert client.get(path, headers=bearer).status_code == 200
    assert client.get('/?token=wrong').status_code == 401
    assert client.get('/api/library', headers=dict(cookie='demul_token=w%C3')).status_code == 401
    entered = client.get(f'/?token={TOKEN}', follow_redirects=False)
    assert (entered.status_code, entered.headers['location']) == (303, '/')
    assert 'HttpOnly' in entered.headers['set-cookie']
    assert client.get('/api/library').status_code == 200


def test_what_is_too_large_is_refused(client: TestClient) -> None:
    body = json.dumps(dict(query='x' * guard.LARGEST_BODY)).encode()

    def in_parts() -> Iterator[bytes]:
        yield from (body[i : i + 65536] for i in range(0, len(body), 65536))

    headers = {'Content-Type': 'application/json'}
    assert client.post('/api/search', content=body, headers=headers).status_code == 413
    assert client.post('/api/search', content=in_parts(), headers=headers).status_code == 413
    for bad in (
        dict(query=''),
        dict(query='x' * 1001),
        dict(query='x', number=100_000),
        dict(query='x', kinds=['sound']),
        dict(query='x', liked=[dict(video='v', start=0, end='Infinity')]),
    ):
        assert client.post('/api/search', json=bad).status_code == 422
    plain = client.post('/api/search', content=b'{"query": "x"}')  # what a form may send
    assert plain.status_code == 422


def wait(client: TestClient) -> dict:
    for _ in range(600):
        state = client.get('/api/update').json()
        if not state['running']:
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def test_a_folder_is_added(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    service = open_service(home)
    (home / 'more/loop').symlink_to(home / 'more/loop')
    with TestClient(api.create_app(service), base_url=HERE) as client:
        for folder, status in (
            (home, 403),
            ('/', 403),
            (home / 'more/../films', 403),
            (home / 'more/none', 404),
            (home / 'more' / ('a' * 4000), 404),
            ('~nobody-of-this-name/films', 403),
            (home / 'more/loop', 404),
        ):
            answer = client.post('/api/update', json=dict(folders=[str(folder)]))
            assert answer.status_code == status
        (home / 'more/loop').unlink()
        (home / 'more/out').symlink_to(home / 'films')
        asked = dict(folders=[str(home / 'more/out')])
        assert client.post('/api/update', json=asked).status_code == 403
        (home / 'more/out').unlink()
        assert {one['name'] for one in search(client, 'red', number=100)} == {'one.mp4', 'two.mp4'}
        (home / 'more/bad.mp4').write_bytes(b'no film')
        asked = dict(folders=[str(home / 'more')])
        assert client.post('/api/update', json=asked).status_code == 202
        report = wait(client)['report']
        assert report['added'] == 1
        assert report['broken'][0]['path'].endswith('bad.mp4')
        assert 'three.mp4' in {one['name'] for one in search(client, 'red', number=100)}
        facts = client.get('/api/library').json()
        assert (facts['videos'], facts['allowed']) == (3, [str(home / 'more')])


def test_alerts_are_asked_of_what_is_added(tmp_path: Path) -> None:
    home, said = make_home(tmp_path), list[Event]()
    open_service(home)
    service = Service(home / 'library', ColourEncoder, [home / 'more'], said.append)
    alerts = Alerts(service.library)
    alerts.add('something green', 0.9)
    alerts.add('red', 0.9, home / 'found.jsonl')
    with TestClient(api.create_app(service), base_url=HERE) as client:
        client.post('/api/update', json=dict(folders=[str(home / 'more')]))
        found = wait(client)['report']['alerts']
        assert [(one['alert'], Path(one['video']).name) for one in found] == [
            (1, 'three.mp4'),
            (2, 'three.mp4'),
        ]
        client.post('/api/update', json={})
        assert wait(client)['report']['alerts'] == []
    assert [asdict(event) for event in said] == found[:1]
    assert json.loads((home / 'found.jsonl').read_text()) == found[1]


def test_an_update_is_stopped_and_goes_on(tmp_path: Path) -> None:
    for i in range(3):
        write_film(tmp_path / f'films/{i}.mp4', ['red', 'blue'])
    service = Service(tmp_path / 'library', ColourEncoder, allowed=[tmp_path])
    progress = updates.Updates(service.library, [tmp_path], print)
    progress.stop()
    with pytest.raises(updates.Stopped):
        service.library.update([tmp_path / 'films'], progress=progress._tell)
    assert service.library.update().added == 3


def test_an_update_that_has_ended_says_how(service: Service) -> None:
    """Also one that ends while it is asked how far it is: the page asks no more then."""
    progress = updates.Updates(service.library, [], print)

    class Ending(threading.Thread):
        def is_alive(self) -> bool:
            progress._run([])
            return False

    progress._thread = Ending()
    state = progress.state()
    assert not state['running']
    assert state['report']['kept'] == 2


def test_everything_is_described(client: TestClient) -> None:
    described = client.get('/openapi.json').json()
    assert set(described['paths']) == {
        '/api/library',
        '/api/search',
        '/api/export',
        '/api/update',
        *(
            f'/api/videos/{{video}}/{what}'
            for what in ('ask', 'curve', 'words', 'file', 'sheet', 'cut')
        ),
    }
    for path in described['paths'].values():
        assert all(one['description'] for one in path.values())
