"""Lines come from files beside a video and from tracks inside it, at the same times."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from demul_mm.video.text import read_lines, spoken_lines, subtitle_files, subtitles_in
from tests.app.films import write_subtitles

LINES = [(1.0, 2.5, 'First <b>line</b>'), (4.25, 6.0, 'Zweite Zeile: Grüße')]


def write_with_track(path: Path, lines: Path, start: float = 0.0) -> Path:
    """Six seconds whose frames begin at ``start``, with a subtitle track beside them."""
    with av.open(str(lines)) as source, av.open(str(path), 'w') as target:
        track = target.add_stream_from_template(source.streams.subtitles[0])
        track.metadata['language'] = 'ger'
        video = target.add_stream('libx264', rate=4)
        video.width = video.height = 32
        shift = round(start * 1000)
        for i in range(24):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format='rgb24')
            frame.pts, frame.time_base = 250 * i + shift, Fraction(1, 1000)
            target.mux(video.encode(frame))
        target.mux(video.encode())
        for packet in source.demux(source.streams.subtitles[0]):
            if packet.size:
                packet.pts += round(shift / 1000 / packet.time_base)
                packet.dts = packet.pts
                packet.stream = track
                target.mux(packet)
    return path


@pytest.mark.parametrize('start', [0.0, 2.0])
def test_a_track_is_as_the_file(tmp_path: Path, start: float) -> None:
    file = write_subtitles(tmp_path / 'film.srt', LINES)
    beside = read_lines(file)
    assert [(line.start, line.end) for line in beside] == [(1.0, 2.5), (4.25, 6.0)]
    assert [line.text for line in beside] == ['First line', 'Zweite Zeile: Grüße']
    assert {line.source for line in beside} == {'film.srt'}
    inside = read_lines(write_with_track(tmp_path / 'film.mkv', file, start))
    np.testing.assert_allclose([i[:2] for i in inside], [b[:2] for b in beside], atol=0.01)
    assert [line.text for line in inside] == [line.text for line in beside]
    assert {line.source for line in inside} == {'track ger'}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'cp1252'])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    file = write_subtitles(tmp_path / 'film.srt', LINES)
    file.write_bytes(file.read_text(encoding='utf-8').encode(encoding))
    assert read_lines(file)[1].text == 'Zweite Zeile: Grüße'


def test_other_forms(tmp_path: Path) -> None:
    vtt = tmp_path / 'film.vtt'
    vtt.write_text('WEBVTT\n\n00:01.000 --> 00:02.000 align:start\n<v Ann>Hello\nthere\n')
    assert [line[:3] for line in read_lines(vtt)] == [(1.0, 2.0, 'Hello there')]
    ass = tmp_path / 'film.ass'
    ass.write_text(
        '[Script Info]\nScriptType: v4.00+\n[Events]\n'
        'Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n'
        'Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\i1}Hello\\Nthere\n'
    )
    assert [line[:3] for line in read_lines(ass)] == [(1.0, 2.0, 'Hello there')]
    (tmp_path / 'none.srt').write_bytes(b'\x00\x01 no subtitles')
    with pytest.raises(ValueError, match=r'none\.srt'):
        read_lines(tmp_path / 'none.srt')
    with pytest.raises(FileNotFoundError):
        read_lines(tmp_path / 'absent.srt')


def test_tags_are_left_out_and_comparisons_are_not(tmp_path: Path) -> None:
    said = {
        'if 5 < 6 then 7 > 3 ok': 'if 5 < 6 then 7 > 3 ok',
        '<I>one</I> <c.yellow>two</c> <00:01.500>three {\\an8}four': 'one two three four',
        '<font color="#ff0000">I</font> <3 it, x <y': 'I <3 it, x <y',
    }
    file = write_subtitles(tmp_path / 'film.srt', [(i, i + 1, t) for i, t in enumerate(said)])
    assert [' '.join(line.text.split()) for line in read_lines(file)] == list(said.values())


@pytest.mark.parametrize('content', [b'', b' \n', b'\xef\xbb\xbf', b'\xff\xfe'])
def test_an_empty_file_has_no_lines(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'film.srt'
    file.write_bytes(content)
    assert read_lines(file) == []


def test_a_video_may_be_called_as_it_likes(tmp_path: Path) -> None:
    file = write_subtitles(tmp_path / 'film.srt', LINES)
    video = write_with_track(tmp_path / 'film.mkv', file)
    expected = read_lines(video)
    assert read_lines(video.rename(tmp_path / 'film.recording')) == expected


def test_files_by_name(tmp_path: Path) -> None:
    for name in ('a.mp4', 'a.srt', 'a.en.vtt', 'ab.srt', 'a b.srt', 'a.txt', 'a.x.y.srt'):
        (tmp_path / name).touch()
    assert [path.name for path in subtitle_files(tmp_path / 'a.mp4')] == ['a.en.vtt', 'a.srt']


def test_a_file_belongs_to_the_video_of_its_whole_name(tmp_path: Path) -> None:
    for name in ('1.mp4', '1.2.MKV', '1.2.srt', '1.2.en.srt', '1.en.srt', '1.3.srt', '1.3.txt'):
        (tmp_path / name).touch()
    found = {stem: [path.name for path in of] for stem, of in subtitles_in(tmp_path).items()}
    assert found['1'] == ['1.3.srt', '1.en.srt']
    assert found['1.2'] == ['1.2.en.srt', '1.2.srt']


def test_what_two_files_say_is_said_once(tmp_path: Path) -> None:
    write_subtitles(tmp_path / 'film.srt', [(1, 2, 'Hello'), (3, 4, 'Hello')])
    (tmp_path / 'film.en.vtt').write_text(
        'WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n\n00:03.000 --> 00:04.000\nthere\n'
    )
    lines, unread = spoken_lines(str(tmp_path / 'film.mp4'))
    assert unread == {}
    assert sorted(line[:3] for line in lines) == [
        (1.0, 2.0, 'Hello'),
        (3.0, 4.0, 'Hello'),
        (3.0, 4.0, 'there'),
    ]
