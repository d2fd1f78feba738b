"""Decoding the frames of a video."""

import os
from dataclasses import dataclass

from demul_mm.datasets.stores.base import check_length
from demul_mm.datasets.transforms.step import Step
from demul_mm.files import file_state
from demul_mm.registry import TRANSFORMS
from demul_mm.video.clips import check_clip_count, decode_clips


@TRANSFORMS.register_module()
@dataclass(eq=False, repr=False)
class LoadVideoClips(Step):
    """Decode the frames of ``results['video_path']`` into ``results['streams']['frames']``.

    Adds an array (T, 3, t, H, W) uint8 RGB under ``stream``, and ``extent``: the seconds that the
    clips cover, which is the duration of the file. The arguments are those of
    :func:`~demul_mm.video.clips.iter_clips`.

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
        check_clip_count(self.clip_seconds, self.num_clips)

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
        """Path, size and modification time of the item's file, as one string."""
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
