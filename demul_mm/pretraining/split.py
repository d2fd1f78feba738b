"""Annotated videos for the pre-training: their clips, and which of them a sentence describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MMLogger
from torch import Tensor

from demul_mm.datasets.annotations import Cleaner
from demul_mm.datasets.jsonl import parse_row
from demul_mm.datasets.reading import read_jsonl
from demul_mm.pretraining.frames import FrameCache


class SentenceSplit:
    """The videos of a JSONL annotation that have queries, with their clips and sentences.

    Args:
        path: annotation; its videos must name their files (``'video'``).
        clips: ``clip_seconds``, ``window_seconds``, ``frames_per_clip`` and ``size``.
        cache: folder of decoded frames, see :class:`FrameCache`.
        video_root: where the files are; by default the folder of the annotation.
        workers: decoding processes.

    Raises:
        FileNotFoundError: there is no such annotation.
        AnnotationError: it has a fault that would not be mended; names the line.
        ValueError: no video has queries, or one names no file.
    """

    def __init__(
        self, path: Path, clips: dict, cache: Path, *, video_root: Path | None, workers: int
    ) -> None:
        rows = _read(path)
        root = video_root or path.parent
        files = [(row['video_id'], str(root / row['video'])) for row in rows]
        self.frames = FrameCache(cache, files, clips, workers)
        for failure in self.frames.failures:
            MMLogger.get_current_instance().warning(f'left out {failure}')
        self.rows = [row for row in rows if row['video_id'] in self.frames.places]
        self.sentences = [[q['query'] for q in row['queries']] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def clips(self, index: int, which: np.ndarray | None = None) -> Tensor:
        """Some or all clips of a video, (n, 3, t, H, W) uint8."""
        return torch.from_numpy(self.frames.gather(self.rows[index]['video_id'], which))

    def inside(self, index: int) -> Tensor:
        """(Q, T) bool: the middle of the clip lies in a span of the query."""
        times = self.frames.middles(self.rows[index]['video_id'])
        inside = [
            np.any([(times >= s) & (times <= e) for s, e in q['spans']] or [times < 0], axis=0)
            for q in self.rows[index]['queries']
        ]
        return torch.from_numpy(np.stack(inside))


def _read(path: Path) -> list[dict]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; give a JSONL of annotated videos')
    cleaner = Cleaner(str(path))  # refuses what cannot be used
    rows = []
    for where, row in read_jsonl(str(path)):
        cleaner.clean(parse_row(row, str(path), where))
        if row['queries']:
            rows.append(row)
    nameless = [row['video_id'] for row in rows if not row.get('video')]
    if nameless or not rows:
        what = f'video {nameless[0]!r} names no file' if nameless else 'no video has queries'
        raise ValueError(f"{path}: {what}; see the JSONL form ('video', 'queries')")
    return rows
