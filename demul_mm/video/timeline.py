"""When the frames of a video file are shown, by their own timestamps."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from demul_mm.video.pyav import import_av

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Share of a video, and at least so many seconds, that may be missing at its end.
TRUNCATED, TRUNCATED_SECONDS = 0.05, 1.0
# Seconds by which two times may differ that mean the same: they are printed to the millisecond.
SOON = 1e-3


class Timeline(NamedTuple):
    """Times of a video stream, by its packets and by its header.

    Attributes:
        origin: timestamp of the first frame, seconds.
        duration: seconds from there to the end of the last frame.
        promised: seconds that the header promises; 0 where it does not say.
        num_packets: how many the stream has.
    """

    origin: float
    duration: float
    promised: float
    num_packets: int

    @property
    def is_cut_off(self) -> bool:
        """Whether the file ends well before the end that its header promises.

        The header of some containers counts from the first frame, that of others from 0.
        """
        missing = self.promised - max(self.duration, self.origin + self.duration)
        return missing > max(TRUNCATED_SECONDS, TRUNCATED * self.promised)


def read_timeline(container: 'InputContainer', stream: 'VideoStream') -> Timeline:
    """Read the timestamps of all packets, to the end of the file, without decoding.

    Headers are no measure of time: that of a file with B-frames and a variable frame rate may be
    short by seconds, and what a browser records has none.

    Raises:
        ValueError: neither the packets nor the header say how long the video is.
    """
    av = import_av()

    unit = float(stream.time_base or 0)
    times: list[int] = []
    last: tuple[int, int, int | None] = (0, 0, None)  # when it is shown, how long, when decoded
    following, number = None, 0
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            number += 1
            following = packet.dts if following is None else following
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None and not packet.is_discard:
                if not times or time > last[0]:
                    last, following = (time, packet.duration or 0, packet.dts), None
                times.append(time)
    except av.error.FFmpegError:
        pass  # a file that is cut off; what was read before counts
    promised = _promised(container, stream)
    if not times and not promised:
        raise ValueError('does not say how long it is; convert it to mp4 (ffmpeg -i)')
    if not times:
        return Timeline(0.0, promised, promised, number)
    first, end = min(times), last[0] + _length(last, following, times)
    return Timeline(first * unit, (end - first) * unit, promised, number)


def _length(last: tuple[int, int, int | None], following: int | None, times: list[int]) -> float:
    """How long the last frame is shown: as the file says, or as the others usually are.

    Where frames are not decoded in the order in which they are shown, what MP4 says is the step to
    when the next one is decoded, which may span a pause.

    Args:
        last: when it is shown, its length, and when it is decoded.
        following: when the frame that is decoded next is.
        times: when each is shown, in any order.
    """
    _, length, decoded = last
    usual = float(np.median(np.diff(sorted(times)))) if len(times) > 1 else 0.0
    is_step = decoded is not None and decoded + length == following
    return min(length, usual) if length and is_step else length or usual


def _promised(container: 'InputContainer', stream: 'VideoStream') -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def seek(container: 'InputContainer', stream: Any, seconds: float) -> float | None:
    """Go to a key frame at or before a time of the file's own clock.

    Where a file has no index (MPEG-TS), seeking may land too late: it is tried from earlier on.

    Returns:
        when the last key frame up to then is shown, which may be one of those that follow; None
        where there is none.
    """
    for earlier in (0.0, 10.0, seconds):
        place = max(0, int((seconds - earlier) / stream.time_base))
        container.seek(place, stream=stream)
        last, until = None, (seconds + SOON) / stream.time_base
        for packet in container.demux(stream):
            if packet.dts is not None and packet.dts > until:
                break
            if packet.is_keyframe and packet.pts is not None and packet.pts <= until:
                last = float(packet.pts * packet.time_base)
        if last is not None:
            break
    container.seek(place, stream=stream)
    return last


def upright(picture: np.ndarray, frame: Any) -> np.ndarray:
    """A frame's picture ``(H, W, 3)`` as it is meant to be seen: phones store theirs turned."""
    return np.ascontiguousarray(np.rot90(picture, quarter_turns(frame)))


def quarter_turns(frame: Any) -> int:
    """Quarter turns, counterclockwise, that bring a frame upright."""
    return round(frame.rotation / 90) % 4
