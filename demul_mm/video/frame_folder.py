"""Folders of frames as videos: ``img_00001.jpg``, ``frame_000001.png``."""

import math
import os
import re
from collections.abc import Sequence

import cv2
import numpy as np

from demul_mm.files import find_files

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
_NUMBER = re.compile(r'(\d+)\D*$')


def list_frames(folder: str, rate: float | None) -> tuple[list[str], float]:
    """The frames of a folder, in the order of the last number in their names, and its seconds.

    Args:
        folder: where the frames are.
        rate: frames a second.

    Raises:
        ValueError: there are none, or their numbers do not tell them apart, or no rate is given.
    """
    if rate is None or not (math.isfinite(rate) and rate > 0):
        raise ValueError(
            f'{folder} is a folder of frames: give frame_rate, their number a second, above 0'
        )
    found: dict[int, str] = {}
    for name in sorted(os.listdir(folder)):
        if match := _is_frame(name):
            other = found.setdefault(int(match[1]), name)
            if other != name:
                raise ValueError(f'{folder}: {other} and {name} have the same number; keep one')
    if not found:
        raise ValueError(f'{folder}: holds no numbered frames ({", ".join(IMAGE_SUFFIXES)})')
    files = [os.path.join(folder, found[number]) for number in sorted(found)]
    return files, len(files) / rate


def _is_frame(name: str) -> re.Match[str] | None:
    """The number in the name of a frame."""
    stem, suffix = os.path.splitext(name)
    numbered = suffix.lower() in IMAGE_SUFFIXES and name[0] != '.'
    return _NUMBER.search(stem) if numbered else None


def is_frame_folder(path: str | os.PathLike) -> bool:
    """Whether it is a folder that holds numbered pictures."""
    return os.path.isdir(path) and any(map(_is_frame, os.listdir(path)))


def list_frame_folders(folder: str | os.PathLike) -> dict[str, str]:
    """The folders of frames in a folder by id, their path in it; of itself, its name."""
    if is_frame_folder(folder):
        return {os.path.basename(os.path.abspath(folder)): os.fspath(folder)}
    frames = {file.parent for file in find_files(folder, IMAGE_SUFFIXES) if _is_frame(file.name)}
    return {place.relative_to(folder).as_posix(): str(place) for place in sorted(frames)}


def read_picture(file: str) -> np.ndarray:
    """A frame as it is on the disk, (height, width, 3) uint8 BGR."""
    picture = cv2.imread(file, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f'{file}: no readable picture; extract the frames again')
    return picture


def read_frames(
    files: Sequence[str], times: np.ndarray, rate: float, height: int, width: int
) -> np.ndarray:
    """The frames shown at some moments.

    Args:
        files: all of the video, one after the other.
        times: ``(T, t)`` seconds.
        rate: frames a second.
        height: pixels of a frame; the picture is stretched.
        width: pixels of a frame.

    Returns:
        ``(T, 3, t, height, width)`` uint8 RGB.

    Raises:
        ValueError: a frame cannot be read.
    """
    places = np.clip((times * rate + 1e-6).astype(int), 0, len(files) - 1)  # (T, t)
    pictures = {}
    for place in np.unique(places):
        small = cv2.resize(
            read_picture(files[place]), (width, height), interpolation=cv2.INTER_AREA
        )
        pictures[place] = small[..., ::-1]
    clips = np.stack([[pictures[place] for place in row] for row in places])  # (T, t, H, W, 3)
    return np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))
