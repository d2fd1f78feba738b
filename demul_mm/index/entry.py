"""What goes into an index: videos as moment vectors."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class VideoEntry:
    """One video as the index sees it.

    Attributes:
        video_id: unique in the index.
        moments: ``(M, S)`` float, L2-normalised, M >= 1.
        spans: ``(M, 2)`` seconds, end >= start.
        duration: seconds.
        metadata: JSON values by name (a date, tags, ...) that searches can filter on; ``text``,
            what is said or written in it, is also searched by words.
    """

    video_id: str
    moments: np.ndarray
    spans: np.ndarray
    duration: float
    metadata: dict[str, Any] | None = None

    def check(self, dim: int | None, longest_text: float = math.inf) -> None:
        """Refuse what would silently spoil the index.

        Args:
            dim: S of the index; None: this is its first video.
            longest_text: bytes that the id, or the metadata as JSON, may have.

        Raises:
            ValueError: says which video and what is wrong with it.
        """
        moments, spans = self.moments, self.spans
        name = f'video {self.video_id!r}'
        if not self.video_id or '\n' in self.video_id:
            raise ValueError(f'{name}: an id must be a non-empty string without line breaks')
        for text in (self.video_id, json.dumps(self.metadata, ensure_ascii=False)):
            if len(text.encode()) > longest_text:
                raise ValueError(
                    f'{name[:80]}: its id or metadata has {len(text.encode())} bytes; this index '
                    f'keeps {longest_text}'
                )
        if moments.ndim != 2 or not len(moments):
            raise ValueError(f'{name}: moments are {moments.shape}; they must be (M, S), M >= 1')
        if dim is not None and moments.shape[1] != dim:
            raise ValueError(
                f'{name}: its moments have {moments.shape[1]} dimensions, the index has {dim}'
            )
        if spans.shape != (len(moments), 2):
            raise ValueError(
                f'{name}: spans are {spans.shape}; they must be ({len(moments)}, 2), one a moment'
            )
        if not np.isfinite(spans).all() or (spans[:, 1] < spans[:, 0]).any():
            raise ValueError(f'{name}: a span is not finite or ends before it starts')
        norms = np.linalg.norm(moments.astype(np.float32), axis=1)
        if not (np.abs(norms - 1) < 1e-2).all():  # written so that NaN fails too
            worst = norms[np.argmax(np.abs(norms - 1))]
            raise ValueError(
                f'{name}: a moment has length {worst:.3g}; moments must be L2-normalised and finite'
            )


@runtime_checkable
class EntrySource(Protocol):
    """Entries that can be made for chosen videos, so that resuming does not encode any twice."""

    def ids(self) -> Sequence[str]:
        """All videos, in a fixed order."""
        ...

    def load(self, video_ids: Sequence[str]) -> Iterable[VideoEntry]:
        """Entries of these videos, in this order."""
        ...
