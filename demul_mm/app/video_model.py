"""What models make of the videos of a library: what is kept of each, and what is found in it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from mmengine.logging import MMLogger
from safetensors import SafetensorError

from demul_mm.app.rank_fusion import Found
from demul_mm.files import replacing
from demul_mm.index import VideoEntry
from demul_mm.structures.nms import MomentNMS
from demul_mm.video.shots import ShotDetector
from demul_mm.zero_shot.scorers import SCORERS
from demul_mm.zero_shot.sharpening import sharpen_found
from demul_mm.zero_shot.windows import frame_vectors, window_spans, window_vectors

# Two moments of one video whose IoU is above this are one answer.
OVERLAP = 0.3
# The videos that the index rates best are looked at more closely.
REFINED = 20
Progress = Callable[[float], None]


class VideoModel(Protocol):
    """What encodes the videos of a library and finds moments in them; it keeps a file of each.

    Attributes:
        suffix: how the names of these files end.
        recipe: what else than the model they depend on.
    """

    suffix: str
    recipe: str

    def write(self, path: str, file: Path, progress: Progress | None = None) -> None:
        """Encode the video at ``path`` into ``file``."""
        ...

    def frames(self, file: Path) -> tuple[np.ndarray, float]:
        """Unit vectors ``(T, S)`` float32 of evenly spaced pieces, and the video's seconds."""
        ...

    def entry(self, key: str, file: Path) -> VideoEntry:
        """The video as the index keeps it."""
        ...

    def refine(
        self, sentence: str, vector: np.ndarray, found: list[Found], file: Callable[[str], Path]
    ) -> list[Found]:
        """Place or rate what the index found more exactly; best first, as it is given.

        Args:
            vector: ``(S,)`` of the sentence. Feedback moves what the index is asked for, not this:
                it changes the order, and no borders.
            file: that of a video's key. A video whose file is gone may be left out.
        """
        ...

    def ask(self, sentence: str, file: Path, number: int, scorer: str) -> list[Found]:
        """The best moments of one video."""
        ...


class FrameModel:
    """Encodes single frames by an image-text model, and takes windows of them for moments.

    Args:
        encoder: what :class:`~demul_mm.app.library.Library` has for one.
        seconds: between frames.
        shots: whether windows keep to the borders of shots, which are told from the same frames.
    """

    suffix = '.npz'

    def __init__(self, encoder: Any, seconds: float, shots: bool = False) -> None:
        self.encoder, self.seconds, self.shots = encoder, seconds, shots
        self.recipe = f'{seconds:g} s' + ', shots' * shots

    def write(self, path: str, file: Path, progress: Progress | None = None) -> None:
        detector = ShotDetector() if self.shots else None

        def encode(pictures: Sequence[np.ndarray]) -> np.ndarray:
            if detector is not None:
                for picture in pictures:
                    detector.see(picture)
            return self.encoder.encode_images(pictures)

        rows, duration = frame_vectors(path, encode, self.seconds, progress)
        kept = dict(frames=rows.astype(np.float16), duration=np.array(duration))
        if detector:
            kept['shots'] = np.array(detector.starts)
        with replacing(file) as temporary, open(temporary, 'wb') as content:
            np.savez(content, **kept)

    def frames(self, file: Path) -> tuple[np.ndarray, float]:
        with np.load(file) as content:
            return content['frames'].astype(np.float32), float(content['duration'])

    def entry(self, key: str, file: Path) -> VideoEntry:
        frames, duration = self.frames(file)
        with np.load(file) as content:
            shots = content['shots'].tolist() if 'shots' in content else [0]
        windows = window_spans(len(frames), shots)
        return VideoEntry(
            video_id=key,
            moments=window_vectors(frames, windows),
            spans=(windows * (duration / len(frames))).astype(np.float32),
            duration=duration,
        )

    def refine(
        self, sentence: str, vector: np.ndarray, found: list[Found], file: Callable[[str], Path]
    ) -> list[Found]:
        if self.shots:
            return found  # their borders are exact
        curves = {}
        for key in list(dict.fromkeys(one.key for one in found))[:REFINED]:
            with leaving_out(file(key)):
                frames, duration = self.frames(file(key))
                curves[key] = frames @ vector, duration / len(frames)
        spans, kept = sharpen_found(
            [one.key for one in found], [(one.start, one.end) for one in found], curves, OVERLAP
        )
        return [
            found[place]._replace(start=start, end=end)
            for place, (start, end) in zip(kept, spans.tolist())
        ]

    def ask(self, sentence: str, file: Path, number: int, scorer: str) -> list[Found]:
        frames, duration = self.frames(file)
        curve, step = frames @ self.encoder.encode_texts([sentence])[0], duration / len(frames)
        spans, scores = SCORERS[scorer](curve, frames)
        best = suppress(spans, scores, number)
        spans, scores = spans[best] * step, scores[best]
        if scorer == 'windows':  # as search has them, where it does not keep to shots
            spans, rows = sharpen_found(
                [''] * len(spans), spans.tolist(), {'': (curve, step)}, OVERLAP
            )
            scores = scores[rows]
        return [
            Found('', start, end, 'picture', f'{scorer} {score:.3f}', score, {scorer: score})
            for (start, end), score in zip(spans.tolist(), scores.tolist())
        ]


@contextmanager
def leaving_out(file: Path) -> Iterator[None]:
    """Go on without what is kept of a video, if another process has just forgotten it, or, with a
    warning, if it is damaged.
    """
    try:
        yield
    except FileNotFoundError:
        pass
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, SafetensorError) as error:
        MMLogger.get_current_instance().warning(
            '%s cannot be read (%s): remove it, and update the library', file, error
        )


def video_model(encoder: Any, seconds: float, shots: bool = False) -> VideoModel:
    """The :class:`VideoModel` of an encoder: a trained model is one, others encode frames.

    Args:
        encoder: what :class:`~demul_mm.app.library.Library` has for one.
        seconds: between the frames that are seen.
        shots: whether windows of frames keep to shots.

    Raises:
        ValueError: a trained model has no windows that could.
    """
    own = getattr(encoder, 'video_model', None)
    if own is not None and shots:
        raise ValueError('a trained model finds borders itself; leave --shots out')
    return own or FrameModel(encoder, seconds, shots)


def suppress(
    spans: np.ndarray, scores: np.ndarray, number: int, overlap: float = OVERLAP
) -> np.ndarray:
    """Which of moments that overlap are the best: indices, best first.

    Args:
        spans: ``(M, 2)``.
        scores: ``(M,)``.
        number: how many moments, at most.
        overlap: IoU above which two moments are one.
    """
    given, rates = (torch.as_tensor(np.asarray(a, np.float64))[None] for a in (spans, scores))
    nms = MomentNMS(overlap, number)
    _, _, valid, best = nms(given, rates, torch.ones_like(rates, dtype=torch.bool))
    return best[valid].numpy()
