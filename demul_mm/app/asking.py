"""Asking one video, and moving a question by what was said of its answers."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from demul_mm.app.rank_fusion import Hit
from demul_mm.app.sight import sight_of
from demul_mm.app.sources import state_key
from demul_mm.index import MomentIndex
from demul_mm.zero_shot.scorers import SCORERS

# A video's key, and seconds from its first frame.
Span = tuple[str, float, float]


def ask(
    path: str | Path,
    sentence: str,
    encoder: Callable[[], Any],
    seconds: float = 1.0,
    number: int = 5,
    scorer: str = 'contrast',
    known: Callable[[str], Path] | None = None,
) -> list[Hit]:
    """The best moments of one video.

    Args:
        encoder: gives what :class:`~demul_mm.app.library.Library` has for one, when it is needed.
        seconds: between the frames that are encoded.
        number: of moments, at most.
        scorer: of :data:`~demul_mm.zero_shot.scorers.SCORERS`; a trained model has its own way.
        known: the file in which a video's key is kept, if it is.

    Raises:
        FileNotFoundError, ValueError: the video cannot be read, or there is no such scorer.
    """
    if scorer not in SCORERS:
        raise ValueError(f'there is no scorer {scorer!r}; allowed: {", ".join(SCORERS)}')
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no video file {path}')
    path = str(Path(path).resolve())
    key = state_key(path)
    sight = sight_of(encoder(), seconds)
    with TemporaryDirectory(prefix='demul_') as folder:
        file = known(key) if known is not None else Path(folder)
        if not file.is_file():
            file = Path(folder, key + sight.suffix)
            sight.write(path, file)
        found = sight.ask(sentence, file, number, scorer)
    return [Hit(key, path, one.start, one.end, one.score, (one.why,)) for one in found]


def refined(
    index: MomentIndex, vector: np.ndarray, liked: Sequence[Span], disliked: Sequence[Span]
) -> np.ndarray:
    """A sentence's vector ``(S,)`` moved by what was said of moments the index still holds."""
    from demul_mm.retrieval.refining import FeedbackWeights, MomentVectors, refine_query

    query, vectors = torch.from_numpy(vector), MomentVectors(index)

    def rows(spans: Sequence[Span]) -> torch.Tensor:
        found = [query.new_zeros(0, len(query))]
        for key, start, end in spans:
            with suppress(KeyError):
                found.append(vectors(key, np.array([[start, end]])))
        return torch.cat(found)

    return refine_query(query, rows(liked), rows(disliked), FeedbackWeights())[0].numpy()
