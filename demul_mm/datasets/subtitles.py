"""Timed text: subtitles and transcripts, and their rows on the clips of a video."""

import html
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from demul_mm.datasets.annotations import AnnotationError
from demul_mm.datasets.reading import entry, parse_json_line, read_lines
from demul_mm.files import NotText, read_text

SUFFIXES = ('.srt', '.vtt')
LONGEST = 86_400.0
"""Seconds: a time beyond a day is a fault of the file."""

_TIMES = re.compile(
    r'^\s*(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[,.]\d+)?)\s*-->\s*'
    r'(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[,.]\d+)?)'
)
_MARKUP = re.compile(r'<[^>]*>|\{\\[^}]*\}')


class Subtitle(NamedTuple):
    """A text and when it is said, in seconds."""

    start: float
    end: float
    text: str


class TimedText(NamedTuple):
    """What is said in a video.

    Attributes:
        video_id: name of the video, or the place of a line that has none.
        subtitles: in the order of their source.
        duration: length of the video in seconds; 0 where the source does not tell.
        fault: what is wrong with the source; '' for nothing.
    """

    video_id: str
    subtitles: list[Subtitle]
    duration: float = 0.0
    fault: str = ''


def read_timed_text(
    path: str, clip_seconds: float, encoding: str | None = None
) -> Iterator[TimedText]:
    """What is said in each video of a source; a video that comes again is a fault.

    Args:
        path: a folder for :func:`read_srt_folder`, a ZIP file for :func:`read_caption_zip`, or a
            file for :func:`read_subtitle_lines`.
        clip_seconds: length of a clip that has a caption.
        encoding: how the files of a folder are written; None: UTF-8, or UTF-16 where they say so.
    """
    if os.path.isdir(path):
        source = read_srt_folder(path, encoding)
    elif path.lower().endswith('.zip'):
        source = read_caption_zip(path, clip_seconds)
    else:
        source = read_subtitle_lines(path)
    seen: set[str] = set()
    for video in source:
        if video.video_id in seen and not video.fault:
            fault = f'{path}: video {video.video_id!r} occurs twice; the second is left out'
            video = TimedText(video.video_id, [], fault=fault)
        seen.add(video.video_id)
        yield video


def read_srt(path: str, encoding: str | None = None) -> list[Subtitle]:
    """The subtitles of an SRT or WebVTT file, without markup and entities; an empty file has none.

    The empty line between two may be missing.

    Raises:
        AnnotationError: it is no such file, or a time in it is wrong.
    """
    try:
        lines = read_text(path, encoding).splitlines()
    except NotText as error:
        raise AnnotationError(f'{error}, or name its encoding') from error
    found: list[Subtitle] = []
    number = 0
    while number < len(lines):
        times = _TIMES.match(lines[number])
        number += 1
        if times is None:
            continue
        where = f'line {number}'
        start, end = _seconds(*times.groups()[:3]), _seconds(*times.groups()[3:])
        text: list[str] = []
        while number < len(lines) and lines[number].strip():
            if _TIMES.match(lines[number]):  # without an empty line before it
                text = text[:-1] if text and text[-1].strip().isdigit() else text
                break
            text.append(lines[number])
            number += 1
        found += _checked(start, end, html.unescape(_plain(' '.join(text))), path, where)
    if not found and not any(_TIMES.match(line) for line in lines) and any(map(str.strip, lines)):
        if lines[0].startswith('WEBVTT'):
            return []
        raise AnnotationError(
            f'{path}: holds no line such as 00:00:01,000 --> 00:00:04,000; is it another kind of '
            'file?'
        )
    return found


def read_srt_folder(path: str, encoding: str | None = None) -> Iterator[TimedText]:
    """What is said by each file of a folder, by name."""
    for name in sorted(os.listdir(path)):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in SUFFIXES:
            continue
        try:
            yield TimedText(stem, read_srt(os.path.join(path, name), encoding))
        except (AnnotationError, OSError) as error:
            yield TimedText(stem, [], fault=str(error))


def read_subtitle_lines(path: str) -> Iterator[TimedText]:
    """What is said by each line of a JSONL file.

    A line is ``{"video_id": ..., "subtitles": [{"start", "end", "text"}, ...]}``, or as TVR
    publishes it ``{"vid_name": ..., "sub": [...]}``; ``[start, end, text]`` stands for a subtitle,
    too. ``duration`` beside them is optional.
    """
    for where, line in read_lines(path):
        try:
            yield _of_line(parse_json_line(line, path, where), path, where)
        except AnnotationError as error:
            yield TimedText(where, [], fault=str(error))


def _of_line(row: dict, path: str, where: str) -> TimedText:
    published = 'vid_name' in row
    video_id = entry(row, 'vid_name' if published else 'video_id', path, where, str)
    rows = entry(row, 'sub' if published else 'subtitles', path, where, list)
    subtitles = _of_json(rows, path, where)
    seconds = 0.0
    if 'duration' in row:
        seconds = float(entry(row, 'duration', path, where, (int, float)))
    if not 0 <= seconds <= LONGEST:
        raise AnnotationError(
            f'{path}: {where}: a duration of {seconds:g} s; give 0 to {LONGEST:g}'
        )
    return TimedText(video_id, subtitles, seconds)


def read_caption_zip(path: str, clip_seconds: float) -> Iterator[TimedText]:
    """The captions in each JSONL file of a ZIP file, by name.

    A line is ``{"moment": i, "description": ...}``, the caption of clip ``i``, from 0.

    Raises:
        AnnotationError: it is not a ZIP file, or holds no JSONL file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise AnnotationError(f'{path}: {error}; download it again') from error
    with archive:
        names = sorted(name for name in archive.namelist() if name.endswith('.jsonl'))
        if not names:
            raise AnnotationError(f'{path}: holds no .jsonl file, one for each video')
        for name in names:
            video_id = os.path.splitext(os.path.basename(name))[0]
            try:
                lines = archive.read(name).decode('utf-8-sig').split('\n')
                yield TimedText(video_id, _captions(lines, f'{path}: {name}', clip_seconds))
            except (AnnotationError, UnicodeDecodeError, zipfile.BadZipFile) as error:
                yield TimedText(video_id, [], fault=str(error))


def _captions(lines: Sequence[str], path: str, clip_seconds: float) -> list[Subtitle]:
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f'line {number}'
            row = parse_json_line(line, path, where)
            start = entry(row, 'moment', path, where, int) * clip_seconds
            text = entry(row, 'description', path, where, str)
            found += _checked(start, start + clip_seconds, _plain(text), path, where)
    return found


def _of_json(rows: list, path: str, where: str) -> list[Subtitle]:
    found = []
    for index, row in enumerate(rows):
        place = f'{where}, subtitle {index}'
        if isinstance(row, list) and len(row) == 3:
            row = dict(zip(Subtitle._fields, row))
        start, end = (entry(row, key, path, place, (int, float)) for key in ('start', 'end'))
        text = _plain(entry(row, 'text', path, place, str))
        found += _checked(start, end, text, path, place)
    return found


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(',', '.'))


def _plain(text: str) -> str:
    return _MARKUP.sub(' ', text)


def _checked(start: float, end: float, text: str, path: str, where: str) -> list[Subtitle]:
    """The subtitle, or none where it says nothing or is not shown."""
    if not 0 <= start <= end <= LONGEST:  # also false for NaN
        raise AnnotationError(
            f'{path}: {where}: shown from {start:g} to {end:g} s; times must satisfy '
            f'0 <= start <= end <= {LONGEST:g}'
        )
    text = ' '.join(text.split())
    return [Subtitle(float(start), float(end), text)] if text and end > start else []


def word_by_word(subtitles: Sequence[Subtitle]) -> list[Subtitle]:
    """The words of each text for themselves, said one after another in its time, equally long."""
    words = []
    for start, end, text in subtitles:
        said = text.split()
        times = np.linspace(start, end, len(said) + 1).tolist()
        words += [Subtitle(*one) for one in zip(times, times[1:], said)]
    return words


def clip_rows(
    subtitles: Sequence[Subtitle],
    features: np.ndarray,
    clip_seconds: float,
    duration: float = 0.0,
) -> np.ndarray:
    """A row for each clip up to the end of the video, or of the last subtitle after that.

    Args:
        subtitles: ``N``, at least one.
        features: ``(N, d)``, of each text.
        duration: length of the video in seconds, if that is known.

    Returns:
        ``(T, d)`` float32: the mean of what is said in a clip, each text counted by the seconds for
        which it is shown there; zeros in clips without text.
    """
    end = max(duration, *(subtitle.end for subtitle in subtitles))
    count = max(1, int(np.ceil(end / clip_seconds - 1e-6)))
    edges = np.arange(count + 1) * clip_seconds
    total = np.zeros((count, features.shape[1]), np.float64)
    seconds = np.zeros((count, 1))
    for subtitle, row in zip(subtitles, features):
        first = min(int(subtitle.start / clip_seconds), count - 1)
        last = min(int(np.ceil(subtitle.end / clip_seconds)), count)
        shown = np.minimum(edges[first + 1 : last + 1], subtitle.end)
        shown = (shown - np.maximum(edges[first:last], subtitle.start)).clip(min=0)[:, None]
        total[first:last] += shown * row
        seconds[first:last] += shown
    return (total / np.where(seconds > 0, seconds, 1)).astype(np.float32)
