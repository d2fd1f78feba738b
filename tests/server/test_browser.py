"""The page in a real browser. DEMUL_PICTURES=FOLDER keeps pictures of it."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import uvicorn

from demul_mm.app.alerts import Alerts
from demul_mm.server import api
from demul_mm.server.service import Service
from tests.app.films import ColourEncoder, write_subtitles

webdriver = pytest.importorskip('selenium.webdriver')
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
DRIVER = shutil.which('chromedriver')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason='no Chromium with its chromedriver'),
]
SCENES = dict(night=(24, 26, 52), red=(224, 58, 40), green=(38, 190, 70), blue=(44, 90, 224))
RATE, WIDTH, HEIGHT = 10, 320, 180


def write_scenes(path: Path, scenes: list[tuple[str, int]]) -> Path:
    """A film of skies, each for some seconds, with a sun that crosses them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), 'w') as container:
        codec = 'mpeg4' if path.suffix == '.avi' else 'libx264'
        stream = container.add_stream(codec, rate=RATE, options={'g': '30'})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        for name, seconds in scenes:
            sky = np.array(SCENES[name]) * (1.15 - 0.4 * y / HEIGHT)[..., None]
            sky[y > 140 + 12 * np.sin(x / 40)] *= 0.45
            for i in range(seconds * RATE):
                picture, share = sky.copy(), i / (seconds * RATE)
                picture[np.hypot(x - WIDTH * share, y - 90 + 40 * np.sin(3 * share)) < 22] = 250
                frame = picture.clip(0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp('home')
    write_scenes(
        home / 'films/evening_walk.mp4', [('night', 9), ('red', 7), ('blue', 8), ('red', 4)]
    )
    write_scenes(home / 'films/garden.mp4', [('green', 12), ('night', 5), ('blue', 6)])
    write_scenes(home / 'films/harbour.avi', [('blue', 10), ('red', 5), ('night', 5)])
    write_subtitles(
        home / 'films/evening_walk.srt',
        [(2, 4, 'It gets dark early now'), (10, 13, 'Look, the sky is all red!')],
    )
    write_scenes(home / 'more/holiday.mp4', [('green', 4), ('blue', 4)])
    return home


@pytest.fixture(scope='module')
def address(home: Path) -> Iterator[str]:
    service = Service(home / 'library', ColourEncoder, allowed=[home / 'more'])
    service.library.update([home / 'films'])
    Alerts(service.library).add('a green meadow', 0.5)
    server = uvicorn.Server(uvicorn.Config(api.create_app(service), port=0, log_level='warning'))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f'http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}'
    server.should_exit = True
    thread.join()


class Page:
    """What a user does, and sees."""

    def __init__(self, address: str, downloads: Path, dark: bool, size: tuple[int, int]) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in ('headless=new', 'no-sandbox', 'disable-gpu', 'mute-audio'):
            options.add_argument(f'--{argument}')
        options.add_experimental_option('prefs', {'download.default_directory': str(downloads)})
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        service = webdriver.ChromeService(executable_path=DRIVER)
        self.driver: Any = webdriver.Chrome(options=options, service=service)
        self.address, self.downloads = address, downloads
        features = [dict(name='prefers-color-scheme', value='dark' if dark else 'light')]
        self.driver.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=features))
        metrics = dict(width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
        self.driver.get(address)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, true: Any, what: str = '') -> Any:
        return WebDriverWait(self.driver, 60).until(lambda _: true(), what)

    def says(self, selector: str, text: str) -> None:
        self.until(lambda: text in self.one(selector).text, f'{selector} never says {text!r}')

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def search(self, sentence: str) -> None:
        self.one('#query').clear()
        self.one('#query').send_keys(sentence, Keys.ENTER)
        self.says('#message', 'moments in')

    def script(self, code: str) -> Any:
        return self.driver.execute_script(f'return {code}')

    def downloaded(self, suffix: str) -> Path:
        return self.until(lambda: next(iter(self.downloads.glob(f'*{suffix}')), None), suffix)

    def picture(self, name: str) -> None:
        folder = os.environ.get('DEMUL_PICTURES')
        if folder:
            loaded = "[...document.images].every((one) => one.complete || one.loading === 'lazy')"
            self.until(lambda: self.script(loaded))
            time.sleep(1.5)
            self.driver.save_screenshot(str(Path(folder, f'{name}.png')))

    def errors(self) -> list[str]:
        return [row['message'] for row in self.driver.get_log('browser')]


@pytest.fixture
def page(address: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = Page(address, tmp_path, *getattr(request, 'param', (False, (1280, 860))))
    yield page
    page.driver.quit()


def test_a_moment_is_found_played_moved_and_cut(page: Page) -> None:
    page.search('a red sky')
    page.until(lambda: len(page.all('.curve path')) == len(page.all('.group')))
    page.until(lambda: len(page.all('#words span')) == 3)
    assert [word.get_attribute('title') for word in page.all('#words span')][:2] == ['0 %', '100 %']
    first = page.one('.moment.current')
    assert 'evening_walk' in page.one('#playing').text
    assert 'Look, the sky is all red!' in first.text
    assert [mark.text for mark in first.find_elements(By.CSS_SELECTOR, 'mark')] == ['sky', 'red']
    page.picture('light')

    page.press(' ')
    page.until(lambda: not page.script("document.getElementById('video').paused"), 'never plays')
    start, end = (
        page.script(f"document.getElementById('{edge}').textContent") for edge in ('start', 'end')
    )
    page.until(lambda: page.script("document.getElementById('video').paused"), 'never stops')
    stopped = page.script("document.getElementById('video').currentTime")
    assert stopped == pytest.approx(seconds(end), abs=0.05)

    page.press('s', 's', 'F')
    assert seconds(page.one('#start').text) == pytest.approx(seconds(start) + 0.2, abs=0.06)
    assert seconds(page.one('#end').text) == pytest.approx(seconds(end) + 1, abs=0.06)
    page.press('c')
    with av.open(str(page.downloaded('.mp4'))) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames / RATE == pytest.approx(seconds(end) - seconds(start) + 0.8, abs=0.11)
    assert page.errors() == []


def seconds(clock: str) -> float:
    minutes, rest = clock.split(':')
    return 60 * int(minutes) + float(rest)


def test_a_word_against_a_moment_moves_the_search(page: Page) -> None:
    page.search('blue')
    wrong = page.one('.moment.current .time').text
    name = page.one('#playing').text
    page.press('n')
    page.says('#message', 'refined by 0 yes and 1 no')
    left = [
        (
            row.find_element(By.CSS_SELECTOR, '.time').text,
            group.find_element(By.CSS_SELECTOR, 'h2').text,
        )
        for group in page.all('.group')
        for row in group.find_elements(By.CSS_SELECTOR, '.moment')
    ]
    assert not any(time == wrong and name in title for time, title in left)
    page.press('j', 'y')
    page.says('#message', 'refined by 1 yes and 1 no')
    assert len(page.all('.yes[aria-pressed=true]')) == 1
    page.search('green')
    assert 'refined' not in page.one('#message').text
    assert page.errors() == []


def test_a_selection_goes_to_an_editor(page: Page) -> None:
    page.search('red')
    page.press('x', 'j', 'x')
    page.says('#chosen', '2 selected')
    page.one('#export').click()
    cuts = page.downloaded('.edl').read_text()
    assert cuts.count('* FROM CLIP NAME') == 2
    page.one('#clear').click()
    assert not page.one('#selection').is_displayed()
    assert page.errors() == []


def test_what_a_browser_cannot_play_is_played_all_the_same(page: Page) -> None:
    page.search('red')
    (group,) = [one for one in page.all('.group') if 'harbour.avi' in one.text]
    group.find_element(By.CSS_SELECTOR, '.shot').click()
    start, end = (seconds(page.one(f'#{edge}').text) for edge in ('start', 'end'))
    playing = "document.getElementById('video')"
    page.until(lambda: page.script(f'{playing}.readyState > 2 && {playing}.paused'), 'never stops')
    offset = max(0, start - 10)
    assert '/cut' in page.script(f'{playing}.src')
    assert page.script(f'{playing}.currentTime') + offset == pytest.approx(end, abs=0.06)


def test_a_folder_is_added(page: Page, home: Path) -> None:
    page.one('#open-folders').click()
    page.says('#allowance', str(home / 'more'))
    page.one('#folder').send_keys('/etc', Keys.ENTER)
    page.says('#progress-text', 'not below the folders that are allowed')
    page.one('#folder').clear()
    page.one('#folder').send_keys(str(home / 'more'), Keys.ENTER)
    page.says('#progress-text', '1 added')
    page.says('#progress-text', 'alert "a green meadow": holiday.mp4 0:00.0')
    page.says('#facts', '4 of')
    page.picture('folders')
    page.press(Keys.ESCAPE)
    page.search('green')
    assert 'holiday.mp4' in page.one('#groups').text
    refused = [line for line in page.errors() if '403' not in line]
    assert refused == []


@pytest.mark.parametrize('page', [(True, (390, 844))], indirect=True)
def test_a_phone_in_the_dark(page: Page) -> None:
    page.search('red')
    assert not page.one('#player').is_displayed()
    page.one('.shot').click()
    page.until(lambda: not page.script("document.getElementById('video').paused"), 'never plays')
    assert page.script('document.documentElement.scrollWidth') <= 390
    page.picture('phone')
    page.one('#theme').click()
    assert page.script('document.documentElement.dataset.theme') == 'light'
    assert page.errors() == []


@pytest.mark.parametrize('page', [(True, (1280, 860))], indirect=True)
def test_another_page_gets_nothing(page: Page, address: str) -> None:
    page.search('red')
    page.picture('dark')
    video = page.script("document.querySelector('.group').id.slice('video-'.length)")
    page.driver.get('data:text/html,<title>elsewhere</title>')
    asked = "fetch('{}', {{method: '{}', mode: 'no-cors'}}).then((a) => a.type, () => 'failed')"
    for method, path in (('POST', '/api/update'), ('GET', f'/api/videos/{video}/file')):
        answer = page.driver.execute_script('return ' + asked.format(address + path, method))
        assert answer in ('failed', 'opaque')
    page.driver.get_log('browser')
    page.driver.get(address)
    state = page.script("fetch('/api/update').then((answer) => answer.json())")
    assert state['running'] is False
