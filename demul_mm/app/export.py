"""Moments as other programs open them: tables, subtitles, and the lists of cuts of editors."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from demul_mm.video.decoding import open_video
from demul_mm.video.timeline import SOON, read_timeline

# Seconds into a video, at most: four months, as in demul_mm.structures.spans, which takes torch.
LATEST = 1e7


class Cut(NamedTuple):
    """A moment in whole frames of its file.

    Attributes:
        path: the video's file.
        label: what it is.
        rate: frames a second.
        first: frame it begins with, from 0.
        frames: how many it has.
        timecode: time of the file's frame 0, in frames, as the camera wrote it.
        drop: whether its timecodes are drop frame.
        total: frames of the file.
        size: width and height.
    """

    path: str
    label: str
    rate: Fraction
    first: int
    frames: int
    timecode: int
    drop: bool
    total: int
    size: tuple[int, int]


def read_moments(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The sentence and the moments of what ``demul search --json`` or ``ask --json`` printed.

    Raises:
        ValueError: it is something else.
    """
    try:
        content = json.loads(text)
        moments = [
            dict(row, start=float(row['start']), end=float(row['end']))
            for row in content['moments']
        ]
        return str(content['query']), moments
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f'these are no moments ({error!r}); give what demul search --json prints'
        ) from error


def export(
    query: str, moments: Sequence[Mapping[str, Any]], form: str, padding: float = 0.0
) -> str:
    """The moments in one of ``FORMS``.

    Args:
        moments: each a dict of ``video`` (a path), ``start``, ``end`` and, optionally, ``score``,
            ``probability`` and ``why``.
        form: 'json', 'csv', 'vtt', 'edl', 'fcpxml' or 'otio'.
        padding: seconds added on both sides, as far as there are any.

    Raises:
        ValueError: there is no such form, times are none, or a video cannot be read.
        FileNotFoundError: a video is missing.
    """
    if form not in FORMS:
        raise ValueError(f'there is no form {form!r}; allowed: {", ".join(FORMS)}')
    for row in moments:
        start, end = row['start'], row['end']
        if not start <= end <= LATEST - padding:
            raise ValueError(
                f'{row["video"]}: from {start:g} to {end:g} s, and {padding:g} s on both sides; '
                f'times must satisfy start <= end, and are {LATEST:g} at most'
            )
    wider = [
        dict(row, start=max(0.0, row['start'] - padding), end=row['end'] + padding)
        for row in moments
    ]
    return FORMS[form](query if form in ('json', 'csv') else _line(query), wider)


class _Film(NamedTuple):
    """What a :class:`Cut` takes from its file."""

    rate: Fraction
    timecode: int
    drop: bool
    total: int
    size: tuple[int, int]


def _film(path: str, until: float) -> _Film:
    """Of a file, which is read to its end only where its header does not reach ``until``."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no video file {path}')
    with open_video(path) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.guessed_rate or stream.average_rate or 25)
        written = stream.metadata.get('timecode') or container.metadata.get('timecode')
        size = stream.width, stream.height
        # A file may lack frames: editors then count by its clock. That may be short, too.
        seconds = (container.duration or 0) / 1e6
        if until > seconds:
            try:
                seconds = max(seconds, read_timeline(container, stream).duration)
            except ValueError as error:
                raise ValueError(f'{path} {error}') from None
    timecode, drop = (frames_of(written, rate), ';' in written) if written else (0, False)
    return _Film(rate, timecode, drop, max(1, round(seconds * rate)), size)


def as_cut(moment: Mapping[str, Any], label: str, film: _Film | None = None) -> Cut:
    """A moment in frames: those that are shown in any part of it.

    Args:
        moment: its ``video`` (a path), ``start`` and ``end``.
        label: what it is called.
        film: what is to be known of its file; None: that is read.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no video, or has no pictures.
    """
    path = str(moment['video'])
    rate, timecode, drop, total, size = film or _film(path, moment['end'])
    first = min(math.floor((moment['start'] + SOON) * rate), total - 1)
    end = min(max(math.ceil((moment['end'] - SOON) * rate), first + 1), total)
    return Cut(path, label, rate, first, end - first, timecode, drop, total, size)


def _line(text: str) -> str:
    """A text as lines of a file and XML can hold it: on one line, without control characters."""
    return ' '.join(''.join(char if char.isprintable() else ' ' for char in text).split())


def _cuts(query: str, moments: Sequence[Mapping[str, Any]]) -> list[Cut]:
    ends: dict[str, float] = {}
    for moment in moments:
        path = str(moment['video'])
        ends[path] = max(moment['end'], ends.get(path, 0.0))
    films = {path: _film(path, end) for path, end in ends.items()}  # each is read once
    return [
        as_cut(moment, f'{query} {number}', films[str(moment['video'])])
        for number, moment in enumerate(moments, 1)
    ]


def _json(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(dict(query=query, moments=list(moments)), indent=1, ensure_ascii=False) + '\n'


def _csv(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    values = ('video', 'start', 'end', 'score', 'probability')
    writer.writerow(['query', *values, 'why'])
    for row in moments:
        why = '; '.join(row.get('why', ()))
        writer.writerow([query, *map(row.get, values), why])
    return file.getvalue()


def _vtt(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    videos = {row['video'] for row in moments}
    if len(videos) > 1:
        raise ValueError(f'WebVTT is for one video, these are {len(videos)}; use demul ask')
    text = html.escape(query, quote=False)
    cues = [
        f'{_clock(row["start"])} --> {_clock(row["end"])}\n{text}\n'
        for row in sorted(moments, key=lambda row: row['start'])
    ]
    return '\n'.join(['WEBVTT\n', *cues])


def _edl(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    """CMX 3600; the record side is at the rate of the first cut, and drop frame if it is."""
    cuts = _cuts(query, moments)
    drop = bool(cuts) and cuts[0].drop
    lines = [f'TITLE: {query}', f'FCM: {"" if drop else "NON-"}DROP FRAME', '']
    place = 0
    for number, cut in enumerate(cuts, 1):
        length = _at_rate(cut, cuts[0].rate)
        inside = cut.timecode + cut.first
        times = [
            as_timecode(inside, cut.rate, cut.drop),
            as_timecode(inside + cut.frames, cut.rate, cut.drop),
            as_timecode(place, cuts[0].rate, drop),
            as_timecode(place + length, cuts[0].rate, drop),
        ]
        lines.append(f'{number:03d}  AX       V     C        {" ".join(times)}')
        lines.append(f'* FROM CLIP NAME: {_line(Path(cut.path).name)}')
        place += length
    return '\n'.join(lines) + '\n'


def _fcpxml(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    cuts = _cuts(query, moments)
    resources, spine = Element('resources'), Element('spine')
    ids: dict[Any, str] = {}  # of formats and assets
    offset = Fraction(0)
    for cut in cuts:
        kind, name = (cut.rate, cut.size), _line(Path(cut.path).name)
        if kind not in ids:
            ids[kind] = f'r{len(ids) + 1}'
            width, height = map(str, cut.size)
            one = dict(id=ids[kind], frameDuration=_seconds(1 / cut.rate))
            SubElement(resources, 'format', one, width=width, height=height)
        if cut.path not in ids:
            ids[cut.path] = f'r{len(ids) + 1}'
            start, duration = cut.timecode / cut.rate, cut.total / cut.rate
            one = dict(id=ids[cut.path], name=name, start=_seconds(start))
            one.update(duration=_seconds(duration), hasVideo='1', format=ids[kind])
            asset = SubElement(resources, 'asset', one)
            SubElement(asset, 'media-rep', kind='original-media', src=_uri(cut.path))
        start = (cut.timecode + cut.first) / cut.rate
        length = Fraction(_at_rate(cut, cuts[0].rate)) / cuts[0].rate
        one = dict(ref=ids[cut.path], name=name, offset=_seconds(offset))
        SubElement(spine, 'asset-clip', one, start=_seconds(start), duration=_seconds(length))
        offset += length
    root = Element('fcpxml', version='1.10')
    root.append(resources)
    event = SubElement(SubElement(root, 'library'), 'event', name=query)
    first = ids[cuts[0].rate, cuts[0].size] if cuts else ''
    project = SubElement(event, 'project', name=query)
    SubElement(project, 'sequence', format=first, duration=_seconds(offset)).append(spine)
    indent(root)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
    return head + tostring(root, encoding='unicode') + '\n'


def _otio(query: str, moments: Sequence[Mapping[str, Any]]) -> str:
    def span(first: int, frames: int, rate: Fraction) -> dict[str, Any]:
        time = dict(OTIO_SCHEMA='RationalTime.1', rate=float(rate))
        return dict(
            OTIO_SCHEMA='TimeRange.1',
            start_time=dict(time, value=float(first)),
            duration=dict(time, value=float(frames)),
        )

    children = [
        dict(
            OTIO_SCHEMA='Clip.1',
            name=cut.label,
            source_range=span(cut.timecode + cut.first, cut.frames, cut.rate),
            media_reference=dict(
                OTIO_SCHEMA='ExternalReference.1',
                target_url=_uri(cut.path),
                available_range=span(cut.timecode, cut.total, cut.rate),
            ),
        )
        for cut in _cuts(query, moments)
    ]
    track = dict(OTIO_SCHEMA='Track.1', name='moments', kind='Video', children=children)
    stack = dict(OTIO_SCHEMA='Stack.1', name='tracks', children=[track])
    return json.dumps(dict(OTIO_SCHEMA='Timeline.1', name=query, tracks=stack), indent=1) + '\n'


FORMS: dict[str, Callable[[str, Sequence[Mapping[str, Any]]], str]] = dict(
    json=_json, csv=_csv, vtt=_vtt, edl=_edl, fcpxml=_fcpxml, otio=_otio
)


def _at_rate(cut: Cut, rate: Fraction) -> int:
    return max(1, round(cut.frames / cut.rate * rate))


def as_timecode(frames: int, rate: Fraction, drop: bool = False) -> str:
    """``HH:MM:SS:FF``; with drop frame ``HH:MM:SS;FF``, of 29.97 or 59.94 frames a second.

    Of less than half a frame a second, the label of the second in which the frame begins.
    """
    base = round(rate)
    if not base:
        base, frames = 1, int(frames / rate)
    if drop:
        left_out = base // 15  # of each minute but the tenth ones
        tens, rest = divmod(frames, 600 * base - 9 * left_out)
        minutes = max(0, (rest - left_out) // (60 * base - left_out))
        frames += left_out * (9 * tens + minutes)
    seconds, rest = divmod(frames, base)
    sign = ';' if drop else ':'
    minutes, seconds = divmod(seconds, 60)
    return f'{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}{sign}{rest:02d}'


def frames_of(timecode: str, rate: Fraction) -> int:
    """The frame that a timecode stands for; a ``;`` says that labels were left out."""
    hours, minutes, seconds, frames = map(int, timecode.replace(';', ':').split(':'))
    base, minutes = round(rate), 60 * hours + minutes
    if not base:
        return round((60 * minutes + seconds) * rate)
    left_out = base // 15 * (minutes - minutes // 10) if ';' in timecode else 0
    return (60 * minutes + seconds) * base + frames - left_out


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f'{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}'


def _seconds(value: Fraction | int) -> str:
    value = Fraction(value)
    whole = value.denominator == 1
    return f'{value.numerator}s' if whole else f'{value.numerator}/{value.denominator}s'


def _uri(path: str) -> str:
    return Path(path).resolve().as_uri()
