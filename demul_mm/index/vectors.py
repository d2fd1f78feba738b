"""Moment vectors in files: what an index is built from when the model ran elsewhere or before.

Safetensors, any number in one folder, each with any number of videos: ``moments (N, S)``,
``spans (N, 2)`` seconds, ``durations (V,)``, and ``offsets (V + 1,)`` of each video's first moment;
in the header ``video_ids`` (a JSON list) and, if wanted, ``metadata`` (a JSON list).

A header may also name ``model_fingerprint`` and ``feature_fingerprint``. Query vectors are a file
of their own, in another folder: ``queries (Q, S)``, and in the header ``sentences``, ``truth`` and
``model_fingerprint``.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from demul_mm.files import write_atomically
from demul_mm.index.entry import VideoEntry
from demul_mm.structures.names import as_names

FINGERPRINTS = ('model_fingerprint', 'feature_fingerprint')


def write_vectors(
    path: str | Path,
    entries: Iterable[VideoEntry],
    model_fingerprint: str = '',
    feature_fingerprint: str = '',
) -> int:
    """Write one file; returns the number of videos.

    Args:
        path: the file, ending in ``.safetensors``; its folder is what the tools take.
        entries: some videos; they are held in memory, so split a large corpus into files.
        model_fingerprint: mark of the weights and config that made the vectors.
        feature_fingerprint: mark of the features they were made from.
    """
    videos = list(entries)
    tensors = dict(
        moments=np.concatenate([v.moments for v in videos]).astype(np.float16),
        spans=np.concatenate([v.spans for v in videos]).astype(np.float32),
        durations=np.array([v.duration for v in videos], np.float32),
        offsets=np.cumsum([0] + [len(v.moments) for v in videos]),
    )
    header = dict(
        video_ids=json.dumps([v.video_id for v in videos]),
        metadata=json.dumps([v.metadata for v in videos]),
        model_fingerprint=model_fingerprint,
        feature_fingerprint=feature_fingerprint,
    )
    write_atomically(path, save(tensors, header))
    return len(videos)


class VectorFolder:
    """An :class:`EntrySource` over a folder of moment vectors; only headers are read at first.

    Args:
        path: the folder.

    Raises:
        FileNotFoundError: it holds no such file.
        ValueError: a file is unreadable, two hold the same video or name other fingerprints.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        files = sorted(self.path.glob('*.safetensors'))
        if not files:
            raise FileNotFoundError(f'{path} holds no *.safetensors file')
        self._places: dict[str, tuple[Path, int]] = {}
        self.fingerprints = dict.fromkeys(FINGERPRINTS, '')
        for number, file in enumerate(files):
            with _open(file) as opened:
                header = opened.metadata() or {}
            self._take_fingerprints(file, header, number == 0)
            if 'video_ids' not in header:
                raise ValueError(
                    f'{file} does not say its video_ids in its header; write it with '
                    'demul_mm.index.vectors.write_vectors'
                )
            for row, video_id in enumerate(json.loads(header['video_ids'])):
                if video_id in self._places:
                    raise ValueError(
                        f'{file} and {self._places[video_id][0]} both hold video {video_id!r}; '
                        'ids must be unique'
                    )
                self._places[video_id] = (file, row)

    def _take_fingerprints(self, file: Path, header: dict[str, str], first: bool) -> None:
        found = {key: header.get(key, '') for key in FINGERPRINTS}
        if not first and found != self.fingerprints:
            raise ValueError(
                f'{file} was made with {found}, the files before it with {self.fingerprints}; one '
                'index needs vectors of one model'
            )
        self.fingerprints = found

    def ids(self) -> list[str]:
        """All videos, in the order of the files."""
        return list(self._places)

    def load(self, video_ids: Sequence[str]) -> Iterator[VideoEntry]:
        """Entries of these videos, in this order; each file is opened once for a run of them."""
        current: Path | None = None
        for video_id in video_ids:
            file, row = self._places[video_id]
            if file != current:
                current = file
                with _open(file) as opened:
                    header = opened.metadata() or {}
                    tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
                extra = json.loads(header.get('metadata', 'null'))
            try:
                part = slice(*tensors['offsets'][row : row + 2])
                yield VideoEntry(
                    video_id,
                    tensors['moments'][part],
                    tensors['spans'][part],
                    float(tensors['durations'][row]),
                    extra[row] if extra else None,
                )
            except KeyError as error:
                raise ValueError(
                    f'{file} lacks {error}; it needs moments, spans, durations and offsets'
                ) from None


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework='numpy')
    except SafetensorError as error:
        raise ValueError(f'{file} is not a readable safetensors file ({error})') from error


def write_queries(
    path: str | Path,
    vectors: np.ndarray,
    sentences: Sequence[str],
    truth: Sequence[tuple[str, float, float]],
    model_fingerprint: str = '',
) -> None:
    """Write query vectors with what they are about.

    Args:
        path: the file; not in a folder of moment vectors.
        vectors: ``(Q, S)``.
        truth: for each its video and the start and end of its moment in seconds.
        model_fingerprint: mark of the weights and config that made the vectors.
    """
    header = dict(
        sentences=json.dumps(as_names(sentences, 'sentences')),
        truth=json.dumps([list(row) for row in truth]),
        model_fingerprint=model_fingerprint,
    )
    write_atomically(path, save(dict(queries=np.asarray(vectors, np.float32)), header))


class QueryVectors(NamedTuple):
    """Query vectors from a file; None for what it does not say.

    Attributes:
        vectors: ``(Q, S)`` float32.
        sentences: that they are of.
        truth: video, start and end of the moment of each.
        model_fingerprint: mark of the weights and config that made them.
    """

    vectors: np.ndarray
    sentences: list[str] | None
    truth: list[tuple[str, float, float]] | None
    model_fingerprint: str | None


def read_queries(path: str | Path) -> QueryVectors:
    """What :func:`write_queries` wrote, or any safetensors with a tensor named ``queries``."""
    with _open(Path(path)) as opened:
        header = opened.metadata() or {}
        if 'queries' not in opened.keys():  # noqa: SIM118
            raise ValueError(f'{path} holds {list(opened.keys())}; it needs one named queries')
        vectors = np.asarray(opened.get_tensor('queries'), np.float32)
    truth = json.loads(header.get('truth', 'null'))
    return QueryVectors(
        vectors,
        json.loads(header.get('sentences', 'null')),
        None if truth is None else [(video, start, end) for video, start, end in truth],
        header.get('model_fingerprint') or None,
    )
