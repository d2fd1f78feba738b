"""What editors open says the same frames as what was found."""

import csv
import io
import json
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from demul_mm.app.export import FORMS, as_cut, as_timecode, export, frames_of, read_moments
from demul_mm.video.decoding import open_video
from demul_mm.video.text import read_lines
from demul_mm.video.timeline import read_timeline
from tests.app.films import write_film
from tests.video.films import write_at


@pytest.fixture(scope='module')
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp('films & co')
    one = write_film(folder / 'one.mp4', ['red', 'blue'], 4)
    two = write_film(folder / 'two.mp4', ['red'], 4, fps=25)
    rows = [(one, 1.0, 2.5), (two, 1.01, 1.5), (one, 6.0, 9.0)]
    return [dict(video=str(p), start=a, end=b, score=0.5, why=['x', 'y']) for p, a, b in rows]


FRAMES = [(8, 12, 8), (25, 13, 25), (48, 16, 8)]  # first, number, rate; the last ends with its film


def test_moments_in_frames(moments: list[dict]) -> None:
    clips = [as_cut(moment, '') for moment in moments]
    assert [(c.first, c.frames, int(c.rate)) for c in clips] == FRAMES
    assert [c.total for c in clips] == [64, 100, 64]
    with pytest.raises(FileNotFoundError, match='no video file'):
        as_cut(dict(video='none.mp4', start=0, end=1), '')


def test_a_printed_time_is_that_of_its_frame(tmp_path: Path) -> None:
    film = write_film(tmp_path / 'one.mp4', ['red'], 4, fps=30)
    clip = as_cut(dict(video=str(film), start=1.033, end=2.067), '')  # of 31 / 30 and 62 / 30
    assert (clip.first, clip.frames) == (31, 31)


@pytest.mark.parametrize('form', ['edl', 'fcpxml', 'otio'])
def test_a_file_without_pictures_is_named(tmp_path: Path, form: str) -> None:
    (tmp_path / 'one.srt').write_text('1\n00:00:01,000 --> 00:00:02,000\nhello\n')
    (tmp_path / 'text.py').write_text('print(1)\n')
    for name in ('one.srt', 'text.py'):
        with pytest.raises(ValueError, match=name):
            export('x', [dict(video=str(tmp_path / name), start=1, end=2)], form)


def test_a_header_that_is_short_moves_no_moment(tmp_path: Path) -> None:
    film = write_at(tmp_path / 'slides.mp4', [0, 60, 70, 75, 300, 301])
    cut = as_cut(dict(video=str(film), start=200.0, end=290.0), '')
    assert (cut.first / cut.rate, cut.frames / cut.rate) == (200, 90)


def test_each_file_is_read_once(moments: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = open_video
    monkeypatch.setattr(
        'demul_mm.app.export.open_video', lambda path: read.append(path) or real(path)
    )
    ends: list[str] = []
    monkeypatch.setattr(
        'demul_mm.app.export.read_timeline', lambda *a: ends.append(a[0].name) or read_timeline(*a)
    )
    export('x', moments, 'edl')
    assert sorted(read) == sorted({moment['video'] for moment in moments})
    assert ends == [moments[2]['video']]  # only its header does not reach so far


def test_tables(moments: list[dict]) -> None:
    query, back = read_moments(export('a "red" one', moments, 'json'))
    assert (query, back) == ('a "red" one', moments)
    rows = list(csv.DictReader(io.StringIO(export('a, b', moments, 'csv'))))
    assert [(r['query'], float(r['start']), r['why']) for r in rows][1] == ('a, b', 1.01, 'x; y')
    padded = json.loads(export('q', moments, 'json', padding=1.5))['moments']
    assert (padded[0]['start'], padded[0]['end']) == (0, 4)
    cues = export('red', moments[::2], 'vtt')
    assert cues.startswith('WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nred\n')
    with pytest.raises(ValueError, match='one video'):
        export('red', moments, 'vtt')
    with pytest.raises(ValueError, match='allowed: json'):
        export('red', moments, 'avi')
    with pytest.raises(ValueError, match='no moments'):
        read_moments('[]')


def test_a_cue_is_the_sentence_again(moments: list[dict], tmp_path: Path) -> None:
    sentence = 'I <3 dogs & cats, a < b > c -->'
    (tmp_path / 'film.vtt').write_text(export(sentence, moments[:1], 'vtt'))
    assert [line.text for line in read_lines(tmp_path / 'film.vtt')] == [sentence]


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    ('start', 'end', 'padding'),
    [
        (1e300, 1e308, 0.0),
        (1.0, float('inf'), 0.0),
        (float('nan'), 2.0, 0.0),
        (2.0, 1.0, 0.0),
        (1.0, 2.0, 1e300),
    ],
)
def test_what_can_be_no_moment_is_refused(
    moments: list[dict], form: str, start: float, end: float, padding: float
) -> None:
    bad = dict(moments[0], start=start, end=end)
    with pytest.raises(ValueError, match=r'one\.mp4: from .* times must satisfy start <= end'):
        export('red', [bad], form, padding)


def test_edl_by_hand(moments: list[dict]) -> None:
    lines = export('red', moments, 'edl').splitlines()
    assert lines[3].split()[4:] == ['00:00:01:00', '00:00:02:04', '00:00:00:00', '00:00:01:04']
    assert lines[5].split()[4:6] == ['00:00:01:00', '00:00:01:13']
    assert lines[7].split()[6] == '00:00:02:00'  # 13 frames of 25 are 4 of 8


def test_a_frame_in_ten_seconds(tmp_path: Path) -> None:
    """An EDL counts whole frames of a second, so its labels are those of seconds."""
    rate = Fraction(1, 10)
    assert as_timecode(7, rate) == '00:01:10:00'
    assert frames_of('00:01:10:00', rate) == 7
    with av.open(str(tmp_path / 'slides.mp4'), 'w') as file:
        stream = file.add_stream('libx264', rate=rate)
        stream.width = stream.height = 32
        for _ in range(4):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format='rgb24')
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    moment = dict(video=str(tmp_path / 'slides.mp4'), start=12.0, end=25.0)
    times = export('red', [moment], 'edl').splitlines()[3].split()[4:]
    assert times == ['00:00:10:00', '00:00:30:00', '00:00:00:00', '00:00:20:00']


def test_a_file_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    """As a browser records it: the end of a moment is not the end of the file."""
    file = tmp_path / 'live.mkv'
    with av.open(str(file), 'w', options={'live': '1'}) as target:
        stream = target.add_stream('libx264', rate=8)
        stream.width = stream.height = 32
        for _ in range(80):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format='rgb24')
            target.mux(stream.encode(picture))
        target.mux(stream.encode())
    with av.open(str(file)) as written:
        assert written.duration is None
    clip = as_cut(dict(video=str(file), start=1.0, end=2.0), '')
    assert (clip.first, clip.frames, clip.total) == (8, 8, 80)
    clip = as_cut(dict(video=str(file), start=9.0, end=20.0), '')
    assert (clip.first, clip.frames) == (72, 8)


def test_a_sentence_of_odd_characters_is_one_line(moments: list[dict]) -> None:
    """Line breaks would begin a cue or an event, and XML holds no control characters."""
    query, line = (
        'a\x0b\x00 disc\r\n\n00:01.000 --> 00:02.000\n*',
        'a disc 00:01.000 --> 00:02.000 *',
    )
    root = ElementTree.fromstring(export(query, moments, 'fcpxml').split('\n', 2)[2])
    assert [one.get('name') for one in root.iter('project')] == [line]
    assert export(query, moments, 'edl') == export(line, moments, 'edl')
    assert export(query, moments[:1], 'vtt') == export(line, moments[:1], 'vtt')
    assert json.loads(export(query, moments, 'json'))['query'] == query


def test_fcpxml_is_whole(moments: list[dict]) -> None:
    root = ElementTree.fromstring(export('a & b', moments, 'fcpxml').split('\n', 2)[2])
    assert len(root.findall('.//asset')) == 2
    clips = root.findall('.//asset-clip')
    starts = [Fraction(clip.get('start', '').removesuffix('s')) for clip in clips]
    assert starts == [Fraction(first, rate) for first, _, rate in FRAMES]
    place = Fraction(0)
    for clip in clips:
        assert Fraction(clip.get('offset', '').removesuffix('s')) == place
        place += Fraction(clip.get('duration', '').removesuffix('s'))
    ids = {one.get('id') for one in root.find('resources') or ()}
    assert len(ids) == 4
    assert {clip.get('ref') for clip in clips} <= ids


def test_opentimelineio_reads_it(moments: list[dict]) -> None:
    otio = pytest.importorskip('opentimelineio')
    timeline = otio.adapters.read_from_string(export('red', moments, 'otio'), 'otio_json')
    clips = list(timeline.find_clips())
    found = [
        (
            c.source_range.start_time.value,
            c.source_range.duration.value,
            c.source_range.duration.rate,
        )
        for c in clips
    ]
    assert found == FRAMES
    for clip, moment in zip(clips, moments):
        assert clip.media_reference.target_url == Path(moment['video']).as_uri()
        assert clip.available_range().contains(clip.source_range.start_time)
    assert set(FORMS) == {'json', 'csv', 'vtt', 'edl', 'fcpxml', 'otio'}


@pytest.mark.parametrize(
    ('form', 'adapter', 'options'),
    [('edl', 'cmx_3600', dict(rate=25)), ('fcpxml', 'fcpx_xml', {})],
)
def test_opentimelineio_reads_what_editors_open(tmp_path: Path, form, adapter, options) -> None:
    """Adapters count in one rate: of films of several they read what they take for gaps."""
    otio = pytest.importorskip('opentimelineio')
    pytest.importorskip('otio_cmx3600_adapter')
    film = write_film(tmp_path / 'one.mp4', ['red'], 4, fps=25)
    spans = [(1.01, 1.5), (0.0, 2.0), (3.02, 9.0)]
    moments = [dict(video=str(film), start=start, end=end) for start, end in spans]
    found = otio.adapters.read_from_string(export('a & b', moments, form), adapter, **options)
    (timeline,) = found if adapter == 'fcpx_xml' else [found]
    (track,) = timeline.tracks
    assert timeline.name == 'a & b'
    assert [(clip.name, clip.source_range.duration.rate) for clip in track] == [('one.mp4', 25)] * 3
    assert [
        (clip.source_range.start_time.value, clip.source_range.duration.value) for clip in track
    ] == [(25, 13), (0, 50), (75, 25)]
    assert [track.range_of_child(clip).start_time.value for clip in track] == [0, 13, 63]


def write_camera_film(path: Path, timecode: str, rate: Fraction) -> Path:
    """Three seconds whose frame 0 has a timecode."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=rate)
        stream.width = stream.height = 32
        stream.metadata['timecode'] = timecode
        for _ in range(3 * round(rate)):
            picture = np.zeros((32, 32, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ('timecode', 'rate', 'cut'),
    [
        ('01:00:00:00', Fraction(25), ['01:00:01:00', '01:00:02:00']),
        # Drop frame: of minutes that are no tens there are no labels 00 and 01.
        ('00:58:59;00', Fraction(30000, 1001), ['00:59:00;02', '00:59:01;02']),
        ('00:59:59;00', Fraction(30000, 1001), ['01:00:00;00', '01:00:01;00']),
        ('00:58:59;00', Fraction(60000, 1001), ['00:59:00;04', '00:59:01;04']),
    ],
)
def test_the_timecode_of_the_camera(tmp_path: Path, timecode: str, rate: Fraction, cut) -> None:
    otio = pytest.importorskip('opentimelineio')
    film = write_camera_film(tmp_path / 'camera.mp4', timecode, rate)
    second = float(round(rate) / rate)
    moments = [dict(video=str(film), start=second, end=2 * second)]
    clip = as_cut(moments[0], '')
    assert clip.timecode == otio.opentime.from_timecode(timecode, float(rate)).value
    lines = export('red', moments, 'edl').splitlines()
    assert lines[1] == ('FCM: DROP FRAME' if ';' in timecode else 'FCM: NON-DROP FRAME')
    assert lines[3].split()[4:6] == cut
    timeline = otio.adapters.read_from_string(export('red', moments, 'otio'), 'otio_json')
    (read,) = timeline.find_clips()
    assert read.source_range.start_time.to_timecode() == cut[0]


def test_drop_frame_labels_are_those_of_opentimelineio() -> None:
    otio = pytest.importorskip('opentimelineio')
    for base in (30, 60):
        rate = Fraction(1000 * base, 1001)
        for frame in [*range(0, 20 * base), *range(base * 55, 2_589_000, 1777)]:
            time = otio.opentime.RationalTime(frame, float(rate))
            label = time.to_timecode(float(rate), drop_frame=True)
            assert as_timecode(frame, rate, drop=True) == label
            assert frames_of(label, rate) == frame
