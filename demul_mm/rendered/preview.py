"""A contact sheet: key frames of some videos over the spans of their sentences."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np

from demul_mm.files import read_text

KEY_FRAMES = 14
CELL = 84
LINE = 17
LEFT = 8


def _key_frames(path: Path, duration: float) -> list[np.ndarray]:
    """Frames (RGB) in the middles of equal parts of a video."""
    wanted = [(k + 0.5) * duration / KEY_FRAMES for k in range(KEY_FRAMES)]
    found: list[np.ndarray] = []
    with av.open(str(path), metadata_errors='replace') as container:
        for frame in container.decode(video=0):
            while len(found) < KEY_FRAMES and frame.time >= wanted[len(found)] - 0.07:
                found.append(frame.to_ndarray(format='rgb24'))
    return found


def _sheet(folder: Path, annotation: dict) -> np.ndarray:
    """The picture (H, W, 3) of one video, BGR."""
    queries = annotation['queries']
    width = KEY_FRAMES * CELL
    sheet = np.full((CELL + 24 + LINE * len(queries) * 2 + 18, width + 2 * LEFT, 3), 255, np.uint8)
    frames = _key_frames(folder / annotation['video'], annotation['duration'])
    for k, frame in enumerate(frames):
        cell = cv2.resize(frame[..., ::-1], (CELL - 2, CELL - 2), interpolation=cv2.INTER_NEAREST)
        sheet[18 : 16 + CELL, LEFT + k * CELL : LEFT + (k + 1) * CELL - 2] = cell
    title = f'{annotation["video_id"]}  {annotation["duration"]:.1f} s'
    _text(sheet, title, LEFT, 13, (0, 0, 0))
    for row, query in enumerate(queries):
        top = CELL + 22 + 2 * LINE * row
        tags = ', '.join(annotation['meta']['tags'][query['query_id']])
        tags = f'  [{tags}]' if tags else ''
        start, end = query['spans'][0]
        _text(sheet, f'{query["query"]}{tags}  {start:.1f}-{end:.1f}', LEFT, top + 12, (60, 60, 60))
        bar = [LEFT + round(t / annotation['duration'] * width) for t in (start, end)]
        cv2.line(sheet, (LEFT, top + 22), (LEFT + width, top + 22), (220, 220, 220), 1)
        cv2.rectangle(sheet, (bar[0], top + 18), (bar[1], top + 26), (200, 120, 30), -1)
    return sheet


def _text(image: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def contact_sheet(
    folder: str | Path, out: str | Path, *, split: str = 'val', videos: int = 4
) -> None:
    """Draw the first videos of a rendered split, with each sentence over its span.

    Args:
        folder: A corpus written by ``render_corpus``.
        out: Picture to write (.png or .jpg).
        split: 'train', 'val' or 'test'.
    """
    folder = Path(folder)
    rows = read_text(folder / f'{split}.jsonl').splitlines()[:videos]
    sheets = [_sheet(folder, json.loads(row)) for row in rows]
    picture = np.concatenate(sheets)
    if not cv2.imwrite(str(out), picture):
        raise ValueError(f'{out}: cannot write a picture; give a path that ends in .png or .jpg')
