"""Draws a script as frames and writes them as an h264 mp4 file."""

from pathlib import Path

import numpy as np

from demul_mm.files import replacing
from demul_mm.rendered.script import Script
from demul_mm.rendered.stage import ANGLE, RADIUS, X, Y
from demul_mm.rendered.world import COLOURS, FPS, SIZE
from demul_mm.video.pyav import import_av

PAD = 20
"""Pixels drawn beyond the frame, so that nothing has to be clipped."""
NOISE_FRAMES = 24
CHUNK = 64
MAX_JITTER = 1
"""Pixels by which the camera moves at most."""


def shape_mask(shape: str, u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Coverage in [0, 1] of points (u, v) in pixels from the centre, v pointing down."""
    if shape == 'disc':
        inside = radius - np.hypot(u, v)
    elif shape == 'square':
        inside = 0.82 * radius - np.maximum(np.abs(u), np.abs(v))
    elif shape == 'triangle':
        inside = 0.58 * radius - np.maximum(np.abs(u) * 0.866 - 0.5 * v, v)
    else:
        a, b = np.abs(u), np.abs(v)
        inside = np.minimum(radius - np.maximum(a, b), 0.32 * radius - np.minimum(a, b))
    return np.clip(inside + 0.5, 0, 1)


def _background(rng: np.random.Generator) -> np.ndarray:
    """A dim, smooth, slightly coloured texture, (H, W, 3) float32 with the padding."""
    side = SIZE + 2 * PAD
    coarse = rng.normal(0, 9, (6, 6, 3)) + rng.uniform(25, 70) + rng.normal(0, 5, 3)
    at = np.linspace(0, 4.999, side)
    low, part = at.astype(int), (at % 1)[:, None, None]
    rows = coarse[low] * (1 - part) + coarse[low + 1] * part
    part = part.reshape(1, -1, 1)
    return (rows[:, low] * (1 - part) + rows[:, low + 1] * part).astype(np.float32)


def _draw(
    canvas: np.ndarray, shape: str, colour: np.ndarray, pose: np.ndarray, lit: np.ndarray
) -> None:
    """Draw one actor on frames ``canvas`` (n, H, W, 3) where ``lit`` (n,) with pose (n, 4)."""
    frames = np.flatnonzero(lit)
    if not len(frames):
        return
    pose = pose[frames]
    # A disc is the smallest and a rotated square the widest of one radius.
    side = 2 * int(np.ceil(1.2 * pose[:, RADIUS].max())) + 2
    corner = np.clip(np.rint(pose[:, :2]).astype(int) - side // 2, -PAD, SIZE + PAD - side)
    grid = np.arange(side, dtype=np.float32) + 0.5
    offset = (corner - pose[:, :2]).astype(np.float32)[:, :, None, None]
    u, v = grid + offset[:, X], grid[:, None] + offset[:, Y]
    angle = pose[:, ANGLE].astype(np.float32)[:, None, None]
    if angle.any():
        cos, sin = np.cos(angle), np.sin(angle)
        u, v = u * cos + v * sin, v * cos - u * sin
    mask = shape_mask(shape, u, v, pose[:, RADIUS].astype(np.float32)[:, None, None])[..., None]
    rows = (corner[:, Y, None] + PAD + np.arange(side))[:, :, None]
    columns = (corner[:, X, None] + PAD + np.arange(side))[:, None, :]
    under = canvas[frames[:, None, None], rows, columns]
    canvas[frames[:, None, None], rows, columns] = under + mask * (colour - under)


def render_frames(script: Script, rng: np.random.Generator) -> np.ndarray:
    """All frames of a script, (F, 64, 64, 3) uint8.

    The truth is in the coordinates of a still camera; this one jitters by up to
    :data:`MAX_JITTER` pixels, its brightness drifts and its sensor is noisy. Grey specks that no
    sentence mentions drift about.
    """
    count = script.num_frames
    background = _background(rng)
    noise = rng.normal(0, 4, (NOISE_FRAMES, SIZE, SIZE, 3)).astype(np.float32)
    which = rng.integers(0, NOISE_FRAMES, count)
    steps = rng.choice([-1, 0, 1], (count, 2), p=[0.04, 0.92, 0.04])
    jitter = PAD + np.clip(np.cumsum(steps, 0), -MAX_JITTER, MAX_JITTER)
    seconds = np.arange(count) / FPS
    light = 1 + 0.08 * np.sin(seconds * rng.uniform(0.1, 0.5) + rng.uniform(0, 6))
    specks = _specks(rng, seconds)
    order = rng.permutation(len(script.actors))
    shown = script.here & script.lit
    out = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        canvas = np.repeat(background[None], part.stop - part.start, 0)
        for pose, grey in specks:
            always = np.ones(part.stop - part.start, bool)
            _draw(canvas, 'cross', np.full(3, grey, np.float32), pose[part], always)
        for index in order:
            actor = script.actors[index]
            colour = np.array(COLOURS[actor.colour], np.float32)
            _draw(canvas, actor.shape, colour, script.pose[index, part], shown[index, part])
        for k in range(part.start, part.stop):
            y, x = jitter[k]
            view = canvas[k - start, y : y + SIZE, x : x + SIZE]
            frame = view * np.float32(light[k])
            frame += noise[which[k]]
            np.clip(frame, 0, 255, out=frame)
            out[k] = frame
    return out


def _specks(rng: np.random.Generator, seconds: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Poses (F, 4) and greys of up to three small things that wander in the background."""
    found = []
    for _ in range(int(rng.integers(0, 4))):
        pose = np.zeros((len(seconds), 4))
        for axis in (X, Y):
            wave = np.sin(seconds * rng.uniform(0.1, 0.6) + rng.uniform(0, 6))
            pose[:, axis] = rng.uniform(12, SIZE - 12) + rng.uniform(3, 10) * wave
        pose[:, RADIUS] = rng.uniform(1.5, 2.5)
        found.append((pose, float(rng.uniform(90, 150))))
    return found


def write_mp4(path: Path, frames: np.ndarray) -> None:
    """Encode (F, H, W, 3) uint8 frames; the file appears under its name only when complete."""
    av = import_av()
    with replacing(path) as temporary, av.open(str(temporary), 'w') as container:
        options = {'preset': 'ultrafast', 'crf': '24', 'threads': '1', 'g': '40', 'bf': '0'}
        stream = container.add_stream('libx264', rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
