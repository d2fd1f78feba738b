"""Cutting a moment out of a video file."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from demul_mm.files import replacing
from demul_mm.video.timeline import read_timeline


def cut(
    source: str | Path, target: str | Path, start: float, end: float, fast: bool = False
) -> tuple[float, float]:
    """Write the part of a video from ``start`` to ``end``, with its first sound track.

    Args:
        source: video file.
        target: file to write, whose suffix says which kind.
        start: seconds from the first frame.
        end: the frame that is shown then is no longer part of it.
        fast: copy what is there instead of encoding it anew: begins at the last key frame at or
            before ``start``, and loses nothing.

    Returns:
        The seconds that the part covers: from that key frame on, or from ``start``.

    Raises:
        FileNotFoundError: there is no such video.
        ValueError: it cannot be read, does not have these seconds, or is the target itself; or the
            target's suffix says no kind that can be written.
    """
    import av

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
    except av.error.FFmpegError as error:
        raise ValueError(f'{source} cannot be cut into {target} ({error.strerror})') from error


@contextmanager
def _writing(file: Path, target: str | Path) -> Iterator[Any]:
    import av

    try:
        with av.open(str(file), 'w') as out:
            yield out
    except ValueError as error:  # PyAV's own, which is no FFmpegError
        raise ValueError(
            f'{target} cannot be written ({error}); let it end in .mp4, .mkv or .mov'
        ) from error


def _encode(container: Any, out: Any, start: float, end: float) -> float:
    import av

    video = container.streams.video[0]
    rate = video.guessed_rate or video.average_rate or Fraction(25)
    pictures = out.add_stream('libx264', rate=rate, options={'crf': '18', 'preset': 'veryfast'})
    pictures.pix_fmt = 'yuv420p'
    unit = Fraction(1, 90_000)
    pictures.codec_context.time_base = unit
    sound = out.add_stream('aac', rate=48_000) if container.streams.audio else None
    for frame in _frames(container, video, start, end):
        turned = frame.rotation % 360 in (90, 270)
        if pictures.width != (frame.height if turned else frame.width) and not pictures.is_open:
            _set_size(pictures, frame, turned)
        picture = _upright(frame) if frame.rotation else frame
        picture.pts, picture.time_base = round((frame.time - start) / unit), unit
        picture.pict_type = 0
        out.mux(pictures.encode(picture))
    out.mux(pictures.encode())
    if sound is not None:
        resampler = av.AudioResampler(format='fltp', layout='stereo', rate=48_000)
        done = 0
        for frame in _frames(container, container.streams.audio[0], start, end):
            for part in resampler.resample(frame):
                part.pts, part.time_base = done, Fraction(1, 48_000)
                done += part.samples
                out.mux(sound.encode(part))
        out.mux(sound.encode())
    return start


def _set_size(stream: Any, frame: Any, turned: bool) -> None:
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    stream.width, stream.height = width - width % 2, height - height % 2  # as the codec asks


def _upright(frame: Any) -> Any:
    import av

    from demul_mm.video.timeline import upright

    picture = upright(frame.to_ndarray(format='rgb24'), frame)
    return av.VideoFrame.from_ndarray(picture, format='rgb24')


def _frames(container: Any, stream: Any, start: float, end: float) -> Iterator[Any]:
    """Frames that are shown from ``start`` on and before ``end``, by the stream's own clock."""
    container.seek(max(0, round(start / stream.time_base)), stream=stream)
    for frame in container.decode(stream):
        if frame.time is None or frame.time < start - 1e-4:
            continue
        if frame.time >= end - 1e-4:
            return
        yield frame


def _copy(container: Any, out: Any, start: float, end: float) -> float:
    video = container.streams.video[0]
    streams = [video, *container.streams.audio[:1]]
    copies = {stream.index: out.add_stream_from_template(stream) for stream in streams}
    container.seek(round(start / video.time_base), stream=video)
    first: float | None = None
    for packet in container.demux(streams):
        if packet.dts is None or packet.pts is None:
            continue
        time = float(packet.pts * packet.time_base)
        if packet.stream is video and first is None and packet.is_keyframe:
            first = time
        if first is None or time < first:
            continue
        if packet.stream is video and packet.dts * packet.time_base >= end:
            break
        if time < end:
            shift = round(first / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    return start if first is None else first
