"""Cutting a moment out of a video file."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from demul_mm.files import replacing
from demul_mm.video.pyav import import_av
from demul_mm.video.timeline import SOON, read_timeline, seek, upright

# Samples a second that sound is encoded with, and seconds without any that are kept as such.
SOUND, GAP = 48_000, 0.1
# Frames a second that are written at least, if only at the end of what stays longer.
SLOWEST = Fraction(10)
# Seconds by which a file may hold sound later than the pictures that it belongs to.
APART = 2.0
# Frames by which they are decoded before they are shown, at most, with x264's usual B-frames.
DELAY = 2


def cut(
    source: str | Path, target: str | Path, start: float, end: float, fast: bool = False
) -> tuple[float, float]:
    """Write the part of a video from ``start`` to ``end``, with its first sound track.

    Args:
        source: video file.
        target: file to write, whose suffix says which kind.
        start: seconds from the first frame; the frame that is shown then is the first.
        end: a frame that begins then is no longer part of it.
        fast: copy what is there instead of encoding it anew: begins at the last key frame at or
            before ``start``, and loses nothing.

    Returns:
        The seconds that the part covers: from that key frame on, or from ``start``.

    Raises:
        FileNotFoundError: there is no such video.
        ValueError: it cannot be read, does not have these seconds, or is the target itself; or the
            target's suffix says no kind that can be written.
    """
    av = import_av()

    if not Path(source).is_file():
        raise FileNotFoundError(f'there is no video file {source}')
    if Path(target).exists() and Path(target).samefile(source):
        raise ValueError(f'{target} is the video itself; give another file to write')
    if not 0 <= start < end:
        raise ValueError(f'from {start:g} to {end:g} s; times must satisfy 0 <= start < end')
    try:
        with av.open(str(source), metadata_errors='replace') as container:
            if not container.streams.video:
                raise ValueError(f'{source} has no pictures')
            timeline = read_timeline(container, container.streams.video[0])
        if start >= timeline.duration:
            raise ValueError(f'{source} ends at {timeline.duration:.2f} s, before {start:g} s')
        end = min(end, timeline.duration)
        write, origin = _copy if fast else _encode, timeline.origin
        with (
            replacing(target) as temporary,
            av.open(str(source), metadata_errors='replace') as container,
            _writing(temporary, target) as out,
        ):
            first = write(container, out, origin + start, origin + end)
        return first - origin, end
    except _NothingShown:
        nothing = f'shows nothing from {start:g} to {end:g} s'
        late = f'has no key frame up to {start:g} s to copy from; cut it without fast'
        raise ValueError(f'{source} {late if fast else nothing}') from None
    except av.error.FFmpegError as error:
        raise ValueError(f'{source} cannot be cut into {target} ({error.strerror})') from error


class _NothingShown(Exception):
    """A video has no picture in what is to be cut out of it."""


@contextmanager
def _writing(file: Path, target: str | Path) -> Iterator[Any]:
    av = import_av()

    try:
        with av.open(str(file), 'w') as out:
            yield out
    except ValueError as error:  # PyAV's own, which is no FFmpegError
        raise ValueError(
            f'{target} cannot be written ({error}); let it end in .mp4, .mkv or .mov'
        ) from error


def _encode(container: Any, out: Any, start: float, end: float) -> float:
    av = import_av()

    video = container.streams.video[0]
    rate = max(SLOWEST, video.guessed_rate or video.average_rate or Fraction(25))
    pictures = out.add_stream('libx264', rate=rate, options={'crf': '18', 'preset': 'veryfast'})
    pictures.pix_fmt = 'yuv420p'
    pictures.codec_context.time_base = Fraction(1, 90_000)
    sound = out.add_stream('aac', rate=SOUND) if container.streams.audio else None
    picture = None
    for frame in _frames(container, video, start, end):
        turned = frame.rotation % 360 in (90, 270)
        if pictures.width != (frame.height if turned else frame.width) and not pictures.is_open:
            _set_size(pictures, frame, turned)
        picture = _upright(frame) if frame.rotation else frame
        time = max(frame.time, start) - start
        _encode_picture(out, pictures, picture, time)
    if picture is None:
        raise _NothingShown
    last = end - start - float(1 / rate)
    if last > time + 1 / rate:  # a slide that stays: its end is part of the moment
        _encode_picture(out, pictures, picture, last)
    out.mux(pictures.encode())
    if sound is not None:
        resampler = av.AudioResampler(format='fltp', layout='stereo', rate=SOUND)
        done = 0
        for frame in _frames(container, container.streams.audio[0], start, end):
            heard = round((frame.time - start) * SOUND)
            if heard > done + SOUND * GAP:
                done = heard
            for part in resampler.resample(frame):
                part.pts, part.time_base = done, Fraction(1, SOUND)
                done += part.samples
                out.mux(sound.encode(part))
        out.mux(sound.encode())
    return start


def _encode_picture(out: Any, stream: Any, picture: Any, time: float) -> None:
    unit = stream.codec_context.time_base
    picture.pts, picture.time_base, picture.pict_type = round(time / unit), unit, 0
    out.mux(stream.encode(picture))


def _set_size(stream: Any, frame: Any, turned: bool) -> None:
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    stream.width, stream.height = width - width % 2, height - height % 2  # as the codec asks


def _upright(frame: Any) -> Any:
    av = import_av()
    picture = upright(frame.to_ndarray(format='rgb24'), frame)
    return av.VideoFrame.from_ndarray(picture, format='rgb24')


def _frames(container: Any, stream: Any, start: float, end: float) -> Iterator[Any]:
    """Frames that begin before ``end`` and, of pictures, are shown at ``start`` or later."""
    seek(container, stream, start)
    before = None
    for frame in container.decode(stream):
        if frame.time is None:
            continue
        if frame.time < start - SOON:
            before = frame if stream.type == 'video' else None
            continue
        if before is not None and frame.time > start + SOON:
            yield before
        before = None
        if frame.time >= end - SOON:
            return
        yield frame
    if before is not None:
        yield before


def _copy(container: Any, out: Any, start: float, end: float) -> float:
    video = container.streams.video[0]
    streams = [video, *container.streams.audio[:1]]
    copies = {stream.index: out.add_stream_from_template(stream) for stream in streams}
    first = seek(container, video, start)
    if first is None:
        raise _NothingShown
    begun, ended = False, set()
    for packet in _timed(container.demux(streams), video):
        time, decoded = (float(stamp * packet.time_base) for stamp in (packet.pts, packet.dts))
        begun |= packet.stream is video and packet.is_keyframe and time >= first
        if not begun or time < first:
            continue
        # What is decoded before the end may be needed by what is shown before it.
        if decoded >= end:
            ended.add(packet.stream.index)
            if len(ended) == len(streams) or decoded >= end + APART:
                break
        elif packet.stream.index not in ended:
            shift = round(first / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    return first


def _timed(packets: Iterator[Any], video: Any) -> Iterator[Any]:
    """Packets with both times: Matroska does not say when the first ones are decoded."""
    step = round(1 / (video.average_rate or 25) / video.time_base)
    early: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.dts is None and packet.stream is video:
            early.append(packet)
            continue
        if packet.dts is not None and packet.stream is video:
            yield from _numbered(early, packet.dts, step)
            early = []
        if packet.dts is not None:
            yield packet
    if early:
        yield from _numbered(early, max(packet.pts for packet in early) - DELAY * step, step)


def _numbered(packets: list[Any], following: int, step: int) -> Iterator[Any]:
    for number, packet in enumerate(packets):
        packet.dts = following - (len(packets) - number) * step
        yield packet
