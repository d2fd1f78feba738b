"""Decoded frames of a whole data set in one memory-mapped file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from demul_mm.files import file_state, read_text, replacing, write_atomically
from demul_mm.video.clips import clip_times, decode_clips


class FrameCache:
    """Frames at a steady rate, (3, H, W) uint8 each, and clips made of them.

    Clips are those that ``LoadVideoClips(**clips)`` would decode, put together from frames that
    are stored once, however much the clips overlap.

    Args:
        folder: Where to keep the frames; those of an earlier run with the same videos are used,
            those of other ones, or of other clips, are replaced.
        videos: (video id, path) of each video.
        clips: ``clip_seconds``, ``window_seconds``, ``frames_per_clip`` and ``size``.
        workers: Decoding processes.

    Attributes:
        failures: What could not be read, a line each.
    """

    def __init__(
        self, folder: Path, videos: list[tuple[str, str]], clips: dict, workers: int
    ) -> None:
        self.clips = clips
        self.frame_seconds = clips['window_seconds'] / clips['frames_per_clip']
        folder.mkdir(parents=True, exist_ok=True)
        states = [file_state(p) if os.path.isfile(p) else p for _, p in videos]
        wanted = {'videos': [[v, state] for (v, _), state in zip(videos, states)], 'clips': clips}
        index = folder / 'index.json'
        found = json.loads(read_text(index)) if index.exists() else {}
        if {k: found.get(k) for k in wanted} != wanted:
            with replacing(folder / 'frames.bin') as path:
                found = {**wanted, **self._decode(path, videos, workers)}
                index.unlink(missing_ok=True)  # it is of the frames that are there until now
            write_atomically(index, json.dumps(found))
        self.places: dict[str, tuple[int, int, float]] = {
            k: (p[0], p[1], p[2]) for k, p in found['places'].items()
        }
        self.failures: list[str] = found['failures']
        if not self.places:
            raise ValueError(f'no video can be read; the first: {self.failures[0]}')
        size = clips['size']
        self.frames = np.memmap(folder / 'frames.bin', np.uint8, 'r').reshape(-1, 3, size, size)

    def _decode(self, path: Path, videos: list[tuple[str, str]], workers: int) -> dict:
        places: dict[str, tuple[int, int, float]] = {}
        failures, start = [], 0
        paths = _Decoded([p for _, p in videos], self.frame_seconds, self.clips['size'])
        loader = DataLoader(paths, batch_size=None, num_workers=workers)
        with open(path, 'wb') as file:
            for (video_id, _), (frames, duration, error) in zip(
                videos, tqdm(loader, desc='decode', unit='video')
            ):
                if error:
                    failures.append(f'{video_id}: {error}')
                    continue
                np.asarray(frames).tofile(file)
                places[video_id] = (start, len(frames), duration)
                start += len(frames)
        return {'places': places, 'failures': failures}

    def num_clips(self, video_id: str) -> int:
        """T of a video."""
        return max(1, round(self.places[video_id][2] / self.clips['clip_seconds']))

    def middles(self, video_id: str) -> np.ndarray:
        """Middle of each clip in seconds, (T,)."""
        count = self.num_clips(video_id)
        return (np.arange(count) + 0.5) * self.places[video_id][2] / count

    def gather(self, video_id: str, which: np.ndarray | None = None) -> np.ndarray:
        """Some or all clips of a video, (n, 3, t, H, W)."""
        start, count, duration = self.places[video_id]
        times = clip_times(
            duration,
            self.num_clips(video_id),
            self.clips['frames_per_clip'],
            self.clips['window_seconds'],
        )
        times = times if which is None else times[which]
        rows = np.clip(times * count / duration, 0, count - 1).astype(int)
        return self.frames[start + rows].swapaxes(1, 2)


class _Decoded(Dataset):
    """(frames (N, 3, H, W), duration, error) of each video."""

    def __init__(self, paths: list[str], frame_seconds: float, size: int) -> None:
        self.paths, self.frame_seconds, self.size = paths, frame_seconds, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray | None, float, str | None]:
        try:
            clips, duration = decode_clips(
                self.paths[index],
                clip_seconds=self.frame_seconds,
                frames_per_clip=1,
                size=self.size,
            )
        except (ValueError, FileNotFoundError) as error:
            return None, 0.0, str(error)
        return clips[:, :, 0], duration, None
