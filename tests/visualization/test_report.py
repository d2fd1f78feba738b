"""The HTML report: well formed, self-contained, and its drawings are where they should be."""

from html.parser import HTMLParser

import numpy as np
import pytest

from demul_mm.video.frames import KeyFrame
from demul_mm.visualization.from_predictions import (
    find_videos,
    report_searches,
    report_videos,
)
from demul_mm.visualization.report import best_floor, write_report
from tests.visualization.helpers import write_video

VOID = {'meta', 'img', 'br', 'link', 'input'}


class Page(HTMLParser):
    """Elements of a page as (tag, attributes), with a check that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())

    def find(self, tag: str, kind: str) -> list[dict]:
        return [a for t, a in self.elements if t == tag and kind in a.get('class', '').split()]


ENTRY = dict(
    query_id='v#0', video_id='v', query='he says "a < b" & leaves', duration=40.0,
    gt=[[10.0, 20.0]], pred=[[10.0, 18.0, 0.9], [30.0, 40.0, 0.2]], tags=['after'],
    terms=[[1.0, 0.5, -0.5, 0.0, 0.1], [0.1, 0.1, 0.1, 0.1, 0.1]],
    corpus=[['w', 0.0, 5.0, 0.8], ['v', 10.0, 18.0, 0.7], ['v', 30.0, 40.0, 0.1]],
)  # fmt: skip
METRICS = {
    'R@1,IoU=0.5': 40.0, 'mIoU': 35.0, 'floor/whole_video/R@1,IoU=0.5': 20.0,
    'floor/constant_window/R@1,IoU=0.5': 25.0, 'oracle/R@1,IoU=0.5': 70.0,
}  # fmt: skip


def _write(path, **options) -> tuple[str, Page]:
    videos = report_videos([ENTRY], paths={})
    searches = report_searches([ENTRY], {'v': 40.0, 'w': 50.0}, paths={})
    write_report(path, 'A & B', METRICS, videos, searches, **options)
    text = path.read_text(encoding='utf-8')
    return text, Page(text)


def test_bars_are_at_their_times(tmp_path):
    _, page = _write(tmp_path / 'r.html')
    (true,) = page.find('rect', 'true')
    assert (true['x'], true['width']) == ('25.000%', '25.000%')
    guess = page.find('rect', 'guess')[0]
    assert (guess['x'], guess['width']) == ('25.000%', '20.000%')
    assert page.find('rect', 'other')[0]['x'] == '75.000%'


def test_words_are_escaped_and_shown(tmp_path):
    text, page = _write(tmp_path / 'r.html', meta={'split': 'val'}, notice='simulated')
    assert 'a < b' not in text
    assert 'he says "a < b" & leaves' in page.words
    for word in ('split: val', 'simulated', 'IoU 0.80', 'after', 'why', 'semantic', '+1.00'):
        assert word in page.words


def test_floors_stand_beside_the_metrics(tmp_path):
    _, page = _write(tmp_path / 'r.html')
    assert any(word.startswith('best floor 25.0') for word in page.words)
    assert page.find('line', 'floor')[0]['x1'] == '25.00%'
    for word in ('Floor: the whole video', 'Floor: best constant window', '70.0'):
        assert word in page.words


def test_search_says_what_is_right(tmp_path):
    _, page = _write(tmp_path / 'r.html')
    assert len(page.find('div', 'search-hit')) == 3
    assert len(page.find('div', 'right')) == 1
    assert 'right video' in page.words


def test_many_metrics_are_listed_downwards(tmp_path):
    metrics = {f'VR/R@{k}': float(k) for k in range(1, 21)}
    write_report(tmp_path / 'r.html', 'x', metrics, [])
    page = Page((tmp_path / 'r.html').read_text())
    assert sum(tag == 'tr' for tag, _ in page.elements) == 21


def test_nothing_is_fetched_from_outside(tmp_path):
    frames = [KeyFrame(1.0, np.zeros((20, 30, 3), np.uint8))]
    videos = report_videos([ENTRY], paths={})
    videos[0].frames = frames
    write_report(tmp_path / 'r.html', 'x', {}, videos)
    text = (tmp_path / 'r.html').read_text()
    images = [a['src'] for tag, a in Page(text).elements if tag == 'img']
    assert len(images) == 1
    assert images[0].startswith('data:image/jpeg;base64,')
    for outside in ('http:', 'https:', 'url(', '@import', '<script', '<link'):
        assert outside not in text


def test_no_prediction_and_no_truth_are_drawn_too(tmp_path):
    bare = dict(ENTRY, pred=[], terms=[], tags=[])
    unknown = dict(ENTRY, gt=[])
    write_report(tmp_path / 'r.html', 'x', {}, report_videos([bare, unknown], paths={}))
    page = Page((tmp_path / 'r.html').read_text())
    assert 'no prediction' in page.words
    assert not any(word.startswith('IoU') for word in page.words)


def test_key_frames_come_from_the_files_that_are_there(tmp_path):
    write_video(tmp_path / 'v.mp4', seconds=4)
    paths = find_videos(tmp_path, ['v', 'absent'])
    assert set(paths) == {'v'}
    entry = dict(ENTRY, duration=4.0)
    (video,) = report_videos([entry], paths, num_frames=4)
    assert len(video.frames) == 4
    (tmp_path / 'v.mp4').write_bytes(b'not a video')
    assert report_videos([entry], paths)[0].frames == []
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        find_videos(tmp_path / 'none', ['v'])


def test_best_floor():
    rows = {'model': {'a': 5.0}, 'floor/x': {'a': 1.0}, 'floor/y': {'a': 3.0}, 'oracle': {'a': 9.0}}
    assert best_floor(rows, 'a') == 3.0
    assert best_floor(rows, 'b') is None
