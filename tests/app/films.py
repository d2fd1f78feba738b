"""Small films, one colour a second, and an encoder that sees colours."""

from pathlib import Path

import av
import numpy as np

COLOURS = dict(black=(10, 10, 10), red=(220, 20, 20), green=(20, 220, 20), blue=(20, 20, 220))


def write_film(path: Path, colours: list[str], seconds: int = 3, fps: int = 8) -> Path:
    """Each colour for some seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '10'})
        stream.width = stream.height = 32
        for colour in colours:
            picture = np.empty((32, 32, 3), np.uint8)
            picture[:] = COLOURS[colour]
            for _ in range(seconds * fps):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


class ColourEncoder:
    """Pictures by their mean colour, sentences by the colours they name."""

    def __init__(self, name: str | None = None, weights: str = 'w1') -> None:
        self.name, self.fingerprint = name or 'colours', weights
        self.pictures = 0

    def encode_images(self, pictures: list[np.ndarray]) -> np.ndarray:
        self.pictures += len(pictures)
        return _unit(np.stack([picture.mean((0, 1)) for picture in pictures]))

    def encode_texts(self, sentences: list[str]) -> np.ndarray:
        rows = [sum(np.array(COLOURS[w]) for w in s.split() if w in COLOURS) for s in sentences]
        return _unit(np.stack([np.broadcast_to(np.array(row, float), 3) for row in rows]))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows - 80
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_subtitles(path: Path, lines: list[tuple[float, float, str]]) -> Path:
    """An SRT file."""

    def clock(seconds: float) -> str:
        return f'00:{int(seconds) // 60:02d}:{seconds % 60:06.3f}'.replace('.', ',')

    rows = [f'{i}\n{clock(a)} --> {clock(b)}\n{text}\n' for i, (a, b, text) in enumerate(lines, 1)]
    path.write_text('\n'.join(rows), encoding='utf-8')
    return path
