"""Frames of a video file, in clips that are spread evenly over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import MMLogger

from demul_mm.datasets.stores.base import check_length
from demul_mm.datasets.transforms.frame_folder import list_frames, read_frames, read_picture
from demul_mm.registry import TRANSFORMS
from demul_mm.structures import is_length
from demul_mm.video.timeline import Timeline, quarter_turns, read_timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Share of the packets of a damaged file that must be readable.
READABLE = 0.5


def iter_clips(
    path: str,
    *,
    clip_seconds: float | None = None,
    num_clips: int | None = None,
    frames_per_clip: int = 4,
    window_seconds: float | None = None,
    size: int | tuple[int, int] | None = 64,
    batch: int = 256,
    frame_rate: float | None = None,
) -> Iterator[tuple[np.ndarray, float]]:
    """Decode a video in batches of clips, in bounded memory.

    The T clips tile the video: clip i covers ``[i, i + 1] * duration / T`` and its frames are the
    ones shown at evenly spaced moments of it, upright. Times are those of the frames, from the
    first one on; what the header says is not believed. Where a part of the file is damaged, the
    frame before it stays, and a warning says how much it is.

    Args:
        path: A video file, or a folder of numbered frames.
        clip_seconds: Seconds between the starts of clips; T = round(duration / clip_seconds).
        num_clips: T; give exactly one of the two.
        frames_per_clip: t, frames in each clip.
        window_seconds: Seconds that the frames of a clip span around its middle, if not the clip's
            own length. Frames before the start or after the end are the first or last one.
        size: Height and width of the frames, or one number for both. The picture is stretched.
            None leaves it as large as that of the file's first frame.
        batch: Most clips in one batch.
        frame_rate: Frames a second of folders of frames.

    Yields:
        Clips (n, 3, t, H, W) uint8 RGB with n <= batch, and the duration in seconds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no readable video, ends early, or is damaged for the most part.
    """
    if (clip_seconds is None) == (num_clips is None):
        raise ValueError(
            f'clip_seconds={clip_seconds}, num_clips={num_clips}: give exactly one of them'
        )
    if clip_seconds is not None and not is_length(clip_seconds):
        raise ValueError(f'clip_seconds={clip_seconds}: must be seconds above 0')
    if num_clips is not None and num_clips <= 0:
        raise ValueError(f'num_clips={num_clips}: must be above 0')
    shape = (size, size) if isinstance(size, int) else size
    if os.path.isdir(path):
        files, duration = list_frames(path, frame_rate)
        count = num_clips or max(1, round(duration / float(clip_seconds or 1)))
        times = clip_times(duration, count, frames_per_clip, window_seconds)
        height, width = shape or read_picture(files[0]).shape[:2]
        for start in range(0, count, batch):
            part = times[start : start + batch]
            yield read_frames(files, part, len(files) / duration, height, width), duration
        return
    from av.video.reformatter import VideoReformatter

    timeline = _timeline(path)
    duration = timeline.duration
    with _open(path) as container:
        stream = container.streams.video[0]
        # Threads cost more than they save on small pictures.
        stream.thread_type = 'SLICE' if stream.codec_context.height < 300 else 'AUTO'
        count = num_clips or max(1, round(duration / float(clip_seconds or 1)))
        times = clip_times(duration, count, frames_per_clip, window_seconds)
        pending = _Pending(times.reshape(-1), shape, VideoReformatter(), timeline.origin)
        damage = _Damage(path, timeline)
        done = 0
        for frame in damage.decode(container, stream):
            pending.push(frame)
            while (pending.filled // frames_per_clip) - done >= batch:
                yield pending.take(batch * frames_per_clip, frames_per_clip), duration
                done += batch
        damage.report()
        pending.finish()
        while done < count:
            n = min(batch, count - done)
            yield pending.take(n * frames_per_clip, frames_per_clip), duration
            done += n


def clip_times(
    duration: float, num_clips: int, frames_per_clip: int, window_seconds: float | None
) -> np.ndarray:
    """Moments in seconds at which the frames of the clips are taken, (T, t), in [0, duration]."""
    step = duration / num_clips
    middle = (np.arange(num_clips) + 0.5) * step
    window = step if window_seconds is None else window_seconds
    offset = ((np.arange(frames_per_clip) + 0.5) / frames_per_clip - 0.5) * window
    return np.clip(middle[:, None] + offset, 0, duration)


def decode_clips(
    path: str,
    *,
    clip_seconds: float | None = None,
    num_clips: int | None = None,
    frames_per_clip: int = 4,
    window_seconds: float | None = None,
    size: int | tuple[int, int] | None = 64,
    frame_rate: float | None = None,
) -> tuple[np.ndarray, float]:
    """All clips of a video at once, (T, 3, t, H, W) uint8, and its duration; see `iter_clips`."""
    parts = list(
        iter_clips(
            path,
            clip_seconds=clip_seconds,
            num_clips=num_clips,
            frames_per_clip=frames_per_clip,
            window_seconds=window_seconds,
            size=size,
            frame_rate=frame_rate,
        )
    )
    return np.concatenate([p for p, _ in parts]), parts[0][1]


class _Damage:
    """Decodes what can be decoded of a file, and counts the packets that cannot."""

    def __init__(self, path: str, timeline: Timeline) -> None:
        self.path, self.timeline = path, timeline
        self.lost, self.frames, self.last = 0, 0, 0.0
        self.why = 'it holds no frame'

    def decode(self, container: InputContainer, stream: VideoStream) -> Iterator[Any]:
        """The frames, in the order in which they are shown."""
        import av

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


class _Pending:
    """Collects, for each wanted moment, the frame that is shown then.

    Windows of neighbouring clips may overlap, so moments are served in order of time and clips are
    put together by position.
    """

    def __init__(
        self,
        wanted: np.ndarray,
        shape: tuple[int, int] | None,
        reformatter: Any,
        origin: float,
    ) -> None:
        self.order = np.argsort(wanted, kind='stable')
        self.wanted = wanted[self.order]
        self.shape = shape
        self.served = 0
        self.next_wanted = self.wanted[0] if len(wanted) else np.inf
        self.frames: dict[int, np.ndarray] = {}
        self.taken = 0
        self.filled = 0
        self.previous: Any = None
        self.reformatter = reformatter
        self.origin = origin
        self.unit = 0.0
        self.last_end = 0.0

    def push(self, frame: Any) -> None:
        """Serve all moments before this frame with the frame before it."""
        time = frame.time
        now = self.last_end if time is None else time - self.origin
        if self.next_wanted < now:
            stop = int(np.searchsorted(self.wanted, now, side='left'))
            self._serve(self.previous or frame, stop)
        self.previous = frame
        self.unit = self.unit or float(frame.time_base or 0)  # a fraction, slow to multiply
        self.last_end = now + (frame.duration or 0) * self.unit

    def _serve(self, frame: Any, stop: int) -> None:
        if stop <= self.served:
            return
        turns = quarter_turns(frame)
        if self.shape is None:
            self.shape = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
        height, width = self.shape[::-1] if turns % 2 else self.shape
        # One reformatter for all frames: setting one up costs more than using it. And one thread:
        # handing a small picture to several takes three times as long as scaling it.
        picture = self.reformatter.reformat(
            frame, width=width, height=height, format='rgb24', threads=1
        ).to_ndarray()
        picture = np.rot90(picture, turns) if turns else picture
        for position in self.order[self.served : stop]:
            self.frames[int(position)] = picture
        self.served = stop
        self.next_wanted = self.wanted[stop] if stop < len(self.wanted) else np.inf
        while self.filled in self.frames:
            self.filled += 1

    def finish(self) -> None:
        """Serve what is left with the last frame."""
        self._serve(self.previous, len(self.wanted))
        self.filled = len(self.wanted)

    def take(self, count: int, frames_per_clip: int) -> np.ndarray:
        """The next ``count`` frames as clips (count / t, 3, t, H, W)."""
        rows = [self.frames.pop(k) for k in range(self.taken, self.taken + count)]
        self.taken += count
        clips = np.stack(rows)
        clips = clips.reshape(-1, frames_per_clip, *clips.shape[1:])
        return np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))


def _open(path: str) -> InputContainer:
    import av

    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path}: no such video; check data_prefix and the annotation')
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


def _timeline(path: str) -> Timeline:
    with _open(path) as container:
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


@TRANSFORMS.register_module()
class LoadVideoClips(BaseTransform):
    """Decode the frames of ``results['video_path']`` into ``results['streams']['frames']``.

    Adds an array (T, 3, t, H, W) uint8 RGB under ``stream``, and ``extent``: the seconds that the
    clips cover, which is the duration of the file. See :func:`iter_clips` for the arguments.

    Raises:
        ValueError: The file cannot be decoded, or is much shorter or longer than ``duration``.
    """

    optional = False

    def __init__(
        self,
        clip_seconds: float | None = None,
        num_clips: int | None = None,
        frames_per_clip: int = 4,
        window_seconds: float | None = None,
        size: int | tuple[int, int] = 64,
        stream: str = 'frames',
        frame_rate: float | None = None,
    ) -> None:
        if (clip_seconds is None) == (num_clips is None):
            raise ValueError(
                f'clip_seconds={clip_seconds}, num_clips={num_clips}: give exactly one of them'
            )
        self.clip_seconds = clip_seconds
        self.num_clips = num_clips
        self.frames_per_clip = frames_per_clip
        self.window_seconds = window_seconds
        self.size = size
        self.stream = stream
        self.frame_rate = frame_rate

    def lacks(self, item: dict) -> str | None:
        """Why there is no file to decode; None when there is one."""
        path = item.get('video_path')
        if not path:
            return (
                f'video {item.get("video_id")!r} has no video_path; set data_prefix'
                "['video'] and name the file in the annotation ('video')"
            )
        return None if os.path.exists(path) else f'{item.get("video_id")}: there is no {path}'

    def transform(self, results: dict) -> dict:
        path = results.get('video_path')
        if not path:
            raise ValueError(self.lacks(results))
        clips, duration = decode_clips(
            path,
            clip_seconds=self.clip_seconds,
            num_clips=self.num_clips,
            frames_per_clip=self.frames_per_clip,
            window_seconds=self.window_seconds,
            size=self.size,
            frame_rate=self.frame_rate,
        )
        annotated = results.get('duration', duration)
        problem = check_length(duration, annotated, duration / len(clips), 'decoded video')
        if problem:
            raise ValueError(f'{path}: {problem}; correct its duration in the annotation')
        results.setdefault('streams', {})[self.stream] = clips
        results['extent'] = duration
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(clip_seconds={self.clip_seconds}, num_clips={self.num_clips}, '
            f'frames_per_clip={self.frames_per_clip}, window_seconds={self.window_seconds}, '
            f'size={self.size}, stream={self.stream!r}, frame_rate={self.frame_rate})'
        )
