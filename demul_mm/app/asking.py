"""Searching a library or one video for a sentence, with feedback on what was found."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from demul_mm.app.catalogue import Catalogue
from demul_mm.app.rank_fusion import Found, Hit, answer, fuse, iou
from demul_mm.app.sources import state_key
from demul_mm.app.video_model import OVERLAP, VideoModel, video_model
from demul_mm.index import MomentIndex
from demul_mm.structures.counts import check_count
from demul_mm.structures.nms import MomentNMS
from demul_mm.zero_shot.scorers import DEFAULT_SCORER, SCORERS

# A video's key, and seconds from its first frame.
Span = tuple[str, float, float]
# Hits of each kind that are fused, at least.
DEPTH = 100
# A moment and what is said in it, which is short, are one answer if their IoU is above this.
SAID_OVERLAP = 0.1
# What an index is tried with.
EVERYDAY = (
    'a dog runs over the grass',
    'two people talk at a table',
    'somebody cooks in a kitchen',
    'a car drives through the rain',
    'children play with a ball',
    'a man speaks into a microphone',
    'a woman opens a door and leaves',
    'the sun sets over the sea',
    'a crowd cheers',
    'text and figures on a slide',
    'a close-up of hands',
    'somebody rides a bicycle',
    'a city at night',
    'it snows in the mountains',
    'a cat sleeps on a sofa',
    'nothing happens',
)


class Searchable(ABC):
    """Searching of a library; subclasses say where its index is, and the files of its videos.

    Attributes:
        catalogue: its videos, and what is said in them.
        seconds: between the frames that are encoded.
    """

    catalogue: Catalogue
    seconds: float

    @property
    @abstractmethod
    def encoder(self) -> Any:
        """See :class:`~demul_mm.app.library.Library`."""

    @property
    @abstractmethod
    def video_model(self) -> VideoModel:
        """What encodes videos and finds moments in them."""

    @abstractmethod
    def _open_index(self) -> MomentIndex | None:
        """The index as it is now, if there is one."""

    @abstractmethod
    def _file(self, key: str) -> Path:
        """What is kept of a video."""

    def search(
        self,
        sentence: str,
        number: int = 10,
        kinds: Iterable[str] = ('picture', 'text'),
        liked: Sequence[Span] = (),
        disliked: Sequence[Span] = (),
    ) -> list[Hit]:
        """The best moments for a sentence, of all videos.

        Pictures and what is said are searched apart and fused by reciprocal rank.

        Args:
            number: how many moments, at most.
            kinds: what is searched, of 'picture' and 'text'.
            liked: moments that are right; what looks like them rises.
            disliked: moments that are wrong; they are left out, and what looks like them sinks.

        Raises:
            ValueError: the sentence is empty, there is no such kind, or the number is less than 1.
        """
        kinds = set(kinds)
        check_count('number', number)
        if not sentence.strip():
            raise ValueError('the sentence is empty; say what you look for')
        if not kinds or kinds - {'picture', 'text'}:
            raise ValueError(f"kinds are {sorted(kinds)}; choose from 'picture' and 'text'")
        depth = max(DEPTH, number)
        lists: list[list[Found]] = []
        if 'picture' in kinds:
            lists.append(self._pictures(sentence, depth, liked, disliked))
        if 'text' in kinds:
            lists.append(self._lines(sentence, depth))
        wrong = [Found(*span, kind='', why='', score=0.0, terms={}) for span in disliked]
        found = [
            hit
            for hit in fuse(lists, SAID_OVERLAP)
            if not any(hit.key == one.key and iou(hit, one) > OVERLAP for one in wrong)
        ]
        rows = self.catalogue.by_key({hit.key for hit in found})
        return [hit._replace(path=rows[hit.key].path) for hit in found if hit.key in rows][:number]

    def recall(self, number: int = 10) -> float | None:
        """Share of exact search's best moments that the index finds, over everyday sentences.

        None of a library without moments.
        """
        index = self._open_index()
        if index is None:
            return None
        vectors = self.encoder.encode_texts(EVERYDAY)
        found, exact = (
            [
                {(key, *span) for key, span in zip(hits.video_ids, hits.spans.tolist())}
                for hits in index.search(vectors, number, DEPTH, mode=mode).hits
            ]
            for mode in ('fast', 'exact')
        )
        if not all(exact):  # its videos are all gone
            return None
        return sum(len(a & b) / len(b) for a, b in zip(found, exact)) / len(exact)

    def _pictures(
        self, sentence: str, depth: int, liked: Sequence[Span], disliked: Sequence[Span]
    ) -> list[Found]:
        index = self._open_index()
        if index is None:
            return []
        nms = MomentNMS(OVERLAP, depth)
        vector = self.encoder.encode_texts([sentence])
        asked = refined(index, vector[0], liked, disliked)[None] if liked or disliked else vector
        # Some of them will be one moment.
        hits = index.search(asked, num_moments=4 * depth, num_videos=depth, nms=nms).hits[0]
        found = [
            Found(key, start, end, 'picture', f'picture {score:.3f}', score, dict(picture=score))
            for key, (start, end), score in zip(
                hits.video_ids, hits.spans.tolist(), hits.scores.tolist()
            )
        ]
        return self.video_model.refine(sentence, vector[0], found, self._file)

    def _lines(self, sentence: str, depth: int) -> list[Found]:
        return [
            Found(
                line.key,
                line.start,
                line.end,
                'text',
                f'{line.source}: "{line.text}"',
                -line.rank,
                dict(text=-line.rank),
            )
            for line in self.catalogue.find_lines(sentence, depth)
        ]

    def ask(
        self, path: str | Path, sentence: str, number: int = 5, scorer: str = DEFAULT_SCORER
    ) -> list[Hit]:
        """The best moments of one video, read from the library if it is there; see :func:`ask`."""
        return ask(path, sentence, lambda: self.encoder, self.seconds, number, scorer, self._file)

    def ask_kept(self, key: str, sentence: str) -> list[Found]:
        """The best moment of a video of the library, whatever has become of its own file.

        An empty list if another process has just forgotten the video.
        """
        model = self.video_model
        try:
            return model.ask(sentence, self._file(key), 1, 'windows')
        except FileNotFoundError:
            return []


def ask(
    path: str | Path,
    sentence: str,
    encoder: Callable[[], Any],
    seconds: float = 1.0,
    number: int = 5,
    scorer: str = DEFAULT_SCORER,
    known: Callable[[str], Path] | None = None,
) -> list[Hit]:
    """The best moments of one video.

    Args:
        encoder: gives what :class:`~demul_mm.app.library.Library` has for one, when it is needed.
        seconds: between the frames that are encoded.
        number: how many moments, at most.
        scorer: one of :data:`~demul_mm.zero_shot.scorers.SCORERS`; a trained model has its own way.
        known: the file in which a video's key is kept, if it is.

    Raises:
        FileNotFoundError, ValueError: the video cannot be read, or there is no such scorer.
    """
    check_count('number', number)
    if scorer not in SCORERS:
        raise ValueError(f'there is no scorer {scorer!r}; allowed: {", ".join(SCORERS)}')
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no video file {path}')
    path = str(Path(path).resolve())
    key = state_key(path)
    model = video_model(encoder(), seconds)
    with TemporaryDirectory(prefix='demul_') as folder:
        file = known(key) if known is not None else Path(folder)
        if not file.is_file():
            file = Path(folder, key + model.suffix)
            model.write(path, file)
        found = model.ask(sentence, file, number, scorer)
    return [answer([one], one.score)._replace(key=key, path=path) for one in found]


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
