"""Frames of a video file, in clips that are spread evenly over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from demul_mm.datasets.stores.base import check_length
from demul_mm.datasets.transforms.frame_folder import list_frames, read_frames, read_picture
from demul_mm.datasets.transforms.step import Step
from demul_mm.files import file_state
from demul_mm.registry import TRANSFORMS
from demul_mm.structures import is_length
from demul_mm.video.decoding import checked_timeline, pictures_at


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
    _check_exactly_one(clip_seconds, num_clips)
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
    timeline = checked_timeline(path)
    duration = timeline.duration
    count = num_clips or max(1, round(duration / float(clip_seconds or 1)))
    wanted = clip_times(duration, count, frames_per_clip, window_seconds).reshape(-1)
    order = np.argsort(wanted, kind='stable')  # the windows of neighbouring clips may overlap
    rows: dict[int, np.ndarray] = {}
    done = filled = 0
    pictures = pictures_at(path, wanted[order], shape, timeline)
    for picture, position in zip(pictures, order):
        rows[int(position)] = picture
        while filled in rows:
            filled += 1
        while (n := min(batch * frames_per_clip, len(wanted) - done)) and filled - done >= n:
            yield _clips([rows.pop(k) for k in range(done, done + n)], frames_per_clip), duration
            done += n


def _check_exactly_one(clip_seconds: float | None, num_clips: int | None) -> None:
    if (clip_seconds is None) == (num_clips is None):
        raise ValueError(
            f'clip_seconds={clip_seconds}, num_clips={num_clips}: give exactly one of them'
        )


def _clips(rows: list[np.ndarray], frames_per_clip: int) -> np.ndarray:
    """Pictures (n * t, H, W, 3) as clips (n, 3, t, H, W)."""
    clips = np.stack(rows).reshape(-1, frames_per_clip, *rows[0].shape)
    return np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))


def clip_times(
    duration: float, num_clips: int, frames_per_clip: int, window_seconds: float | None
) -> np.ndarray:
    """Moments in seconds at which the frames of the clips are taken, (T, t), in [0, duration]."""
    step = duration / num_clips
    middle = (np.arange(num_clips) + 0.5) * step
    window = step if window_seconds is None else window_seconds
    offset = ((np.arange(frames_per_clip) + 0.5) / frames_per_clip - 0.5) * window
    return np.clip(middle[:, None] + offset, 0, duration)


def decode_clips(path: str, **clips: Any) -> tuple[np.ndarray, float]:
    """All clips of a video at once, (T, 3, t, H, W) uint8, and its duration; see `iter_clips`."""
    parts = list(iter_clips(path, **clips))
    return np.concatenate([p for p, _ in parts]), parts[0][1]


def stream_features(
    path: str,
    clips: Mapping[str, Any],
    encode: Callable[[np.ndarray], np.ndarray],
    progress: Callable[[float], None] | None = None,
    batch: int = 128,
) -> tuple[np.ndarray, float]:
    """Features ``(T, d)`` of a video file, and its seconds.

    Of its pictures no more than a batch of clips is in memory, however long it is.

    Args:
        path: the file.
        clips: how they are cut, arguments of :func:`iter_clips`.
        encode: from clips ``(n, 3, t, H, W)`` uint8 to ``(n, d)``.
        progress: called with the share of the file that is done.
        batch: clips encoded at once.
    """
    parts, seconds, done = [], 0.0, 0
    for rows, seconds in iter_clips(path, batch=batch, **clips):
        parts.append(encode(rows))
        done += len(rows)
        if progress is not None:
            total = clips.get('num_clips') or seconds / clips['clip_seconds']
            progress(min(1.0, done / max(total, 1.0)))
    return np.concatenate(parts), seconds


@TRANSFORMS.register_module()
@dataclass(eq=False, repr=False)
class LoadVideoClips(Step):
    """Decode the frames of ``results['video_path']`` into ``results['streams']['frames']``.

    Adds an array (T, 3, t, H, W) uint8 RGB under ``stream``, and ``extent``: the seconds that the
    clips cover, which is the duration of the file. See :func:`iter_clips` for the arguments.

    Raises:
        ValueError: The file cannot be decoded, or is much shorter or longer than ``duration``.
    """

    optional = False

    clip_seconds: float | None = None
    num_clips: int | None = None
    frames_per_clip: int = 4
    window_seconds: float | None = None
    size: int | tuple[int, int] = 64
    stream: str = 'frames'
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        _check_exactly_one(self.clip_seconds, self.num_clips)

    def lacks(self, item: dict) -> str | None:
        """Why there is no file to decode; None when there is one."""
        path = item.get('video_path')
        if not path:
            return (
                f'video {item.get("video_id")!r} has no video_path; set data_prefix'
                "['video'] and name the file in the annotation ('video')"
            )
        return None if os.path.exists(path) else f'{item.get("video_id")}: there is no {path}'

    def state(self, item: dict) -> str:
        """What is another text once the item's file is another."""
        return '' if self.lacks(item) else file_state(item['video_path'])

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
