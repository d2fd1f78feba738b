"""Timed text: read from files in the wild, and laid on clips."""

import json
import zipfile

import numpy as np
import pytest

from demul_mm.datasets import AnnotationError
from demul_mm.datasets.subtitles import (
    Subtitle,
    clip_rows,
    read_caption_zip,
    read_srt,
    read_srt_folder,
    read_subtitle_lines,
    word_by_word,
)
from demul_mm.video.text import read_lines


def found_in(videos):
    """The subtitles of each video, or what is wrong with it."""
    return {video.video_id: video.fault or video.subtitles for video in videos}


SRT = """\ufeff1
00:00:01,000 --> 00:00:02,500
<i>Hand me</i>
the salt.

2
00:01:00,250 --> 01:00:00,5
{\\an8}♪ Late.

3
00:00:05,000 --> 00:00:06,000


4
00:00:07,000 --> 00:00:07,000
never shown
"""
VTT = """WEBVTT

00:01.000 --> 00:02.500 align:start
Hand me the salt.
"""


def test_srt_and_webvtt(tmp_path):
    for name, content in {'a.srt': SRT, 'b.vtt': VTT, 'c.srt': SRT.replace('\n', '\r\n')}.items():
        (tmp_path / name).write_bytes(content.encode())
    salt = Subtitle(1.0, 2.5, 'Hand me the salt.')
    assert read_srt(str(tmp_path / 'a.srt')) == [salt, Subtitle(60.25, 3600.5, '♪ Late.')]
    assert read_srt(str(tmp_path / 'b.vtt')) == [salt]
    assert read_srt(str(tmp_path / 'c.srt')) == read_srt(str(tmp_path / 'a.srt'))


@pytest.mark.parametrize(
    ('suffix', 'head', 'between'),
    [('.srt', '', ''), ('.srt', '', '\n'), ('.vtt', 'WEBVTT\n\n', '\n')],
)
def test_a_file_says_the_same_to_training_and_to_search(tmp_path, suffix, head, between):
    """With characters that are written as entities, and without an empty line between two."""
    said = {
        (1.0, 2.0): 'salt &amp; 2&nbsp;spoons &gt; <i>oil</i>\nit&#39;s &quot;hot&quot;',
        (3.0, 4.0): 'pepper\n20',
        (5.0, 6.5): '3',
        (7.0, 8.0): 'late',
    }
    file = tmp_path / f'a{suffix}'
    blocks = [
        f'{number}\n00:00:{start:06.3f} --> 00:00:{end:06.3f}\n{text}\n'
        for number, ((start, end), text) in enumerate(said.items(), 1)
    ]
    file.write_text(head + between.join(blocks))
    found = read_srt(str(file))
    assert found == [
        Subtitle(1.0, 2.0, 'salt & 2 spoons > oil it\'s "hot"'),
        Subtitle(3.0, 4.0, 'pepper 20'),
        Subtitle(5.0, 6.5, '3'),
        Subtitle(7.0, 8.0, 'late'),
    ]
    assert [line[:3] for line in read_lines(file)] == found


def test_files_without_text_have_none_and_other_files_are_named(tmp_path):
    (tmp_path / 'empty.srt').write_text('\n \n')
    (tmp_path / 'silent.vtt').write_text('WEBVTT\n\nNOTE nobody speaks\n')
    (tmp_path / 'quiet.srt').write_text('1\n00:00:01,000 --> 00:00:02,000\n<i></i>\n')
    (tmp_path / 'wrong.srt').write_text('{"subtitles": []}')
    (tmp_path / 'back.srt').write_text('1\n00:00:04,000 --> 00:00:02,000\nhello\n')
    (tmp_path / 'latin.srt').write_bytes(
        '1\n00:00:01,0 --> 00:00:02,0\nlait glacé\n'.encode('cp1252')
    )
    (tmp_path / 'notes.txt').write_text('no subtitles')
    found = found_in(read_srt_folder(str(tmp_path)))
    assert list(found) == ['back', 'empty', 'latin', 'quiet', 'silent', 'wrong']
    assert found['empty'] == found['silent'] == found['quiet'] == []
    assert 'back.srt: line 2: shown from 4 to 2 s' in found['back']
    assert 'not utf-8-sig' in found['latin']
    assert 'name its encoding' in found['latin']
    assert 'holds no line such as 00:00:01,000' in found['wrong']
    named = found_in(read_srt_folder(str(tmp_path), encoding='cp1252'))
    assert named['latin'] == [Subtitle(1.0, 2.0, 'lait glacé')]
    with pytest.raises(AnnotationError, match='is it another kind of file'):
        read_srt(str(tmp_path / 'wrong.srt'))


def test_jsonl_in_both_forms_with_broken_lines(tmp_path):
    path = tmp_path / 'subs.jsonl'
    rows = [
        {'vid_name': 'friends_1', 'sub': [{'text': 'Hey. ', 'start': 0, 'end': 1.9}]},
        {'video_id': 'mine', 'subtitles': [{'start': 2.0, 'end': 3, 'text': 'one\n two'}]},
        {'video_id': 'silent', 'subtitles': []},
        {'video_id': 'nan', 'subtitles': [{'start': float('nan'), 'end': 3, 'text': 'x'}]},
        {'video_id': 'long', 'subtitles': [{'start': 0, 'end': 1e9, 'text': 'x'}]},
        {'video_id': 'key', 'subtitles': [{'start': 0, 'text': 'x'}]},
        {'subtitles': []},
        {'video_id': 'endless', 'duration': 1e12, 'subtitles': []},
        {'video_id': 'huge', 'subtitles': [{'start': 0, 'end': 10**400, 'text': 'x'}]},
    ]
    lines = [json.dumps(row) for row in rows]
    path.write_text('\n'.join([*lines, '{"vid_name": "torn', '']))
    found = list(found_in(read_subtitle_lines(str(path))).items())
    assert found[:3] == [
        ('friends_1', [Subtitle(0.0, 1.9, 'Hey.')]),
        ('mine', [Subtitle(2.0, 3.0, 'one two')]),
        ('silent', []),
    ]
    faults = [message for _, message in found[3:]]
    for message, wanted in zip(
        faults,
        [
            'line 4, subtitle 0: shown from nan',
            'line 5, subtitle 0: shown from 0 to 1e+09',
            "line 6, subtitle 0: key 'end' is missing",
            "line 7: key 'video_id' is missing",
            'line 8: a duration of 1e+12 s',
            "line 9, subtitle 0: 'end' is a number of 401 digits",
            'line 10: not valid JSON',
        ],
        strict=True,
    ):
        assert wanted in message


@pytest.mark.parametrize(('name', 'message'), [(None, 'download'), ('a.txt', 'no .jsonl file')])
def test_a_zip_without_captions_is_refused(tmp_path, name, message):
    path = tmp_path / 'captions.zip'
    path.write_bytes(b'no')
    if name:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr(name, '')
    with pytest.raises(AnnotationError, match=message):
        next(read_caption_zip(str(path), 2.0))


def test_rows_are_means_by_seconds():
    said = [Subtitle(0.0, 2.0, 'a'), Subtitle(1.5, 2.0, 'b'), Subtitle(5.0, 6.5, 'c')]
    rows = clip_rows(said, np.eye(3), 1.0)
    np.testing.assert_allclose(
        rows,
        [[1, 0, 0], [2 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]],
        atol=1e-6,
    )
    assert rows.dtype == np.float32
    assert clip_rows([Subtitle(0.1, 0.2, 'a')], np.ones((1, 2)), 5.0).tolist() == [[1, 1]]


def test_rows_go_on_to_the_end_of_the_video():
    said = [Subtitle(0.0, 2.0, 'a')]
    assert clip_rows(said, np.ones((1, 2)), 2.0, duration=5.0).tolist() == [[1, 1], [0, 0], [0, 0]]
    assert clip_rows(said, np.ones((1, 2)), 1.0, duration=1.0).tolist() == [[1, 1], [1, 1]]


def test_rounding_adds_no_row():
    assert 3 * 0.1 / 0.1 > 3
    assert len(clip_rows([Subtitle(0.0, 3 * 0.1, 'a')], np.ones((1, 2)), 0.1)) == 3


@pytest.mark.parametrize('seed', range(20))
def test_rows_equal_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    starts = rng.uniform(0, 30, size=12)
    said = [Subtitle(s, s + rng.uniform(0.01, 6), str(s)) for s in starts]
    features = rng.normal(size=(12, 3))
    seconds = rng.choice([0.5, 1.0, 1.5, 2.3])
    rows = clip_rows(said, features, seconds)
    assert (len(rows) - 1) * seconds < max(s.end for s in said) <= len(rows) * seconds + 1e-9
    for clip, row in enumerate(rows):
        low, high = clip * seconds, (clip + 1) * seconds
        shown = np.array([max(0, min(s.end, high) - max(s.start, low)) for s in said])
        wanted = shown @ features / shown.sum() if shown.sum() > 0 else np.zeros(3)
        np.testing.assert_allclose(row, wanted, atol=1e-5)


def test_words_are_said_one_after_another_in_the_time_of_their_text() -> None:
    said = word_by_word([Subtitle(1, 4, 'add  the onions'), Subtitle(4, 5, 'now')])
    assert said == [
        Subtitle(1, 2, 'add'),
        Subtitle(2, 3, 'the'),
        Subtitle(3, 4, 'onions'),
        Subtitle(4, 5, 'now'),
    ]
