"""The pictures of a video file at given times: by torchcodec where it is at hand, else by PyAV."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.logging import MMLogger

from demul_mm.video.pyav import import_av
from demul_mm.video.timeline import Timeline, quarter_turns, read_timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Share of the packets of a damaged file that must be readable.
READABLE = 0.5
# Pictures that torchcodec decodes at once.
CHUNK = 4
# Kinds of pictures that torchcodec converts to the same bits as PyAV; not so those of 10 bits.
SAME_BITS = ('yuv420p', 'yuvj420p', 'yuv422p', 'yuv444p')
# A time that is so many seconds or less before a frame begins is its own: sums are inexact.
BORDER = 1e-6


def pictures_at(
    path: str, times: np.ndarray, size: tuple[int, int] | None, timeline: Timeline
) -> Iterator[np.ndarray]:
    """The pictures that are shown at given times, upright, in bounded memory.

    Both decoders give the same bits of a sound file. They would scale differently, so torchcodec
    decodes pictures that keep their size, and PyAV the others, and what torchcodec cannot decode
    or converts otherwise: where a part of the file is damaged, the frame before it stays, and a
    warning says how much.

    Args:
        path: a video file.
        times: (N,) seconds from the first frame, ascending; past the end, the last frame is shown.
        size: height and width, the picture is stretched; None: those of the first picture.
        timeline: times of the file's frames, see :func:`checked_timeline`.

    Yields:
        N pictures (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file is damaged for the most part.
    """
    times = times + BORDER
    done = 0
    if size is None and torchcodec_problem() is None:
        try:
            for picture in _by_torchcodec(path, times, timeline.origin):
                yield picture
                done, size = done + 1, (picture.shape[0], picture.shape[1])
            return
        except RuntimeError:
            pass
    yield from _by_pyav(path, times[done:], size, timeline)


@functools.cache
def torchcodec_problem() -> str | None:
    """Why torchcodec does not decode; None where it does."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return str(error).splitlines()[0]
    return None


def _by_torchcodec(path: str, times: np.ndarray, origin: float) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=0)
    if decoder.metadata.pixel_format not in SAME_BITS:
        raise RuntimeError(f'{path}: pictures are {decoder.metadata.pixel_format}')
    first, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    times = np.clip(times + origin, first, np.nextafter(end, first))
    for start in range(0, len(times), CHUNK):
        part = times[start : start + CHUNK]
        chunk = decoder.get_frames_played_at(part)
        if (chunk.pts_seconds.numpy() > part).any():  # seeking in MPEG-TS went too far
            raise RuntimeError(f'{path}: frames are missing')
        yield from chunk.data.permute(0, 2, 3, 1).numpy()


def _by_pyav(
    path: str, times: np.ndarray, size: tuple[int, int] | None, timeline: Timeline
) -> Iterator[np.ndarray]:
    from av.video.reformatter import VideoReformatter

    picture = _Upright(size, VideoReformatter())
    damage = _Damage(path, timeline)
    previous: Any = None
    done, end, unit = 0, 0.0, 0.0
    next_time = times[0] if len(times) else np.inf
    with open_video(path) as container:
        stream = container.streams.video[0]
        # Threads cost more than they save on small pictures.
        stream.thread_type = 'SLICE' if stream.codec_context.height < 300 else 'AUTO'
        for frame in damage.decode(container, stream):
            now = end if frame.time is None else frame.time - timeline.origin
            if next_time < now:  # the frame before this one is shown at all times before it
                stop = int(np.searchsorted(times, now, side='left'))
                yield from [picture(previous or frame)] * (stop - done)
                done, next_time = stop, times[stop] if stop < len(times) else np.inf
            previous = frame
            unit = unit or float(frame.time_base or 0)  # a fraction, slow to multiply
            end = now + (frame.duration or 0) * unit
        damage.report()
        if done < len(times):
            yield from [picture(previous)] * (len(times) - done)


class _Upright:
    """Turns and scales frames."""

    def __init__(self, size: tuple[int, int] | None, reformatter: Any) -> None:
        self.size, self.reformatter = size, reformatter

    def __call__(self, frame: Any) -> np.ndarray:
        turns = quarter_turns(frame)
        if self.size is None:
            self.size = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
        height, width = self.size[::-1] if turns % 2 else self.size
        # One reformatter for all frames: setting one up costs more than using it. And one thread:
        # handing a small picture to several takes three times as long as scaling it.
        picture = self.reformatter.reformat(
            frame, width=width, height=height, format='rgb24', threads=1
        ).to_ndarray()
        return np.rot90(picture, turns) if turns else picture


class _Damage:
    """Decodes what can be decoded of a file, and counts the packets that cannot."""

    def __init__(self, path: str, timeline: Timeline) -> None:
        self.path, self.timeline = path, timeline
        self.lost, self.frames, self.last = 0, 0, 0.0
        self.why = 'it holds no frame'

    def decode(self, container: InputContainer, stream: VideoStream) -> Iterator[Any]:
        """The frames, in the order in which they are shown."""
        av = import_av()

        try:
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        self.frames += 1
                        self.last = self.last if frame.time is None else frame.time
                        yield frame
                except av.error.FFmpegError as error:
                    self.lost, self.why = self.lost + 1, str(error)
        except av.error.FFmpegError as error:
            self.lost, self.why = self.lost + 1, str(error)

    def report(self) -> None:
        """Say what was lost, or refuse the file.

        Raises:
            ValueError: most of it was, or all.
        """
        number = self.timeline.num_packets
        lost = max(self.lost, 0 if not self.lost else number - self.frames)
        if not self.frames or number - lost < READABLE * number:
            readable = max(0.0, self.last - self.timeline.origin) if self.frames else 0.0
            raise _truncated(self.path, readable, self.timeline.duration, self.why)
        if lost:
            MMLogger.get_current_instance().warning(
                f'{self.path}: {lost:,} of {number:,} frames cannot be decoded ({self.why}); the '
                'ones before them are shown instead'
            )


def open_video(path: str) -> InputContainer:
    """Open a file that holds pictures; raises what :func:`checked_timeline` does."""
    av = import_av()

    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{path}: no such video file; where an annotation names it, check data_prefix'
        )
    try:
        container = av.open(path, metadata_errors='replace')
    except av.error.FFmpegError as error:
        raise ValueError(
            f'{path}: cannot be opened as a video ({error.strerror}, {os.path.getsize(path)} '
            'bytes); it is truncated or of another kind: download or convert it again'
        ) from error
    if not container.streams.video:
        container.close()
        raise ValueError(f'{path}: holds no video stream; give a file with pictures')
    return container


def checked_timeline(path: str) -> Timeline:
    """When the frames of a file are shown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no readable video, or ends early.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        try:
            timeline = read_timeline(container, stream)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None
        if stream.codec_context is None or not stream.codec_context.height:
            raise _truncated(path, 0.0, timeline.promised, 'it holds no frame')
        if timeline.is_cut_off:
            readable, promised = timeline.duration, timeline.promised
            raise _truncated(path, readable, promised, 'the file ends early')
        return timeline


def _truncated(path: str, readable: float, duration: float, reason: str) -> ValueError:
    return ValueError(
        f'{path}: readable up to {readable:.1f} of {duration:.1f} s ({reason}); download or '
        'convert it again, or leave the video out'
    )
