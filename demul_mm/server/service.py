"""What the page, REST and MCP offer of a library."""

import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from demul_mm.app.alerts import Event
from demul_mm.app.asking import Span
from demul_mm.app.catalogue import VideoRow
from demul_mm.app.export import export
from demul_mm.app.library import Library, is_library
from demul_mm.app.rank_fusion import Hit
from demul_mm.app.sources import covers
from demul_mm.server.together import Together
from demul_mm.server.updates import Updates
from demul_mm.video.cutting import cut
from demul_mm.video.frames import even_times, sprite_sheet

# Sentences, sheets of pictures and cuts that are kept.
SENTENCES, SHEETS, CUTS = 1000, 500, 16
# Files that are decoded at once: searches must go on.
DECODERS = 2
# At most: a cut, in seconds; a curve, in points; the words of a sentence that are told apart.
LONGEST_CUT, CURVE, WORDS = 1800.0, 400, 30
# Bytes of a video's name that a cut is called by: a name has 255, with the id and times beside it.
LONGEST_STEM = 190


class SharedEncoder:
    """An encoder for several threads, which remembers sentences.

    Args:
        encoder: what :class:`~demul_mm.app.library.Library` takes for one.
    """

    def __init__(self, encoder: Any) -> None:
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.encode_images = getattr(encoder, 'encode_images', None)
        self.video_model = getattr(encoder, 'video_model', None)  # of a trained model
        self._encoder = encoder
        self._vectors: dict[str, np.ndarray] = {}
        self._ask = Together(self._encode)  # tokenizers are not for two threads

    def encode_texts(self, sentences: Sequence[str]) -> np.ndarray:
        """Unit vectors ``(n, S)`` float32."""
        return np.stack(self._ask(sentences))

    def _encode(self, sentences: Sequence[str]) -> list[np.ndarray]:
        known = self._vectors
        new = [one for one in dict.fromkeys(sentences) if one not in known]
        if new:
            known.update(zip(new, self._encoder.encode_texts(new)))
        found = [known.setdefault(one, known.pop(one)) for one in sentences]  # the last used last
        for one in list(known)[:-SENTENCES]:
            del known[one]
        return found


class Service:
    """A library for several threads; videos are named by their ids, never by paths.

    Args:
        path: the library's folder; it is made if it is missing and something is allowed.
        encoder: see :class:`~demul_mm.app.library.Library`.
        allowed: folders below which folders may be added.
        tell: see :class:`~demul_mm.server.updates.Updates`.

    Raises:
        FileNotFoundError: there is no library, or no such folder.
    """

    def __init__(
        self,
        path: str | Path,
        encoder: Callable[[str | None], Any],
        allowed: Iterable[str | Path] = (),
        tell: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._lock = threading.Lock()
        self._make = encoder
        self._shared: SharedEncoder | None = None
        roots = [Path(folder).resolve(strict=True) for folder in allowed]
        make = Library if roots and not is_library(path) else Library.open
        self.library = make(path, self._encoder)
        self.updates = Updates(self.library, roots, tell)
        self._sheet = lru_cache(SHEETS)(self._draw)
        self._decoders = threading.BoundedSemaphore(DECODERS)
        self._folder = TemporaryDirectory(prefix='demul_', ignore_cleanup_errors=True)
        self._cuts: OrderedDict[tuple[Span, bool], Path] = OrderedDict()
        self._cutting = [threading.Lock() for _ in range(CUTS)]

    def warm_up(self) -> None:
        """Load what the first search would have to wait for.

        Raises:
            ValueError, FileNotFoundError: the encoder is not that of the library, or not at hand.
        """
        if self.library.catalogue.setting('encoder'):
            self.library.search('nothing', 1)

    def close(self) -> None:
        """Stop what runs, and leave no files behind."""
        self.updates.stop(wait=True)
        self._folder.cleanup()

    def _encoder(self, name: str | None) -> SharedEncoder:
        with self._lock:
            if self._shared is None:
                self._shared = SharedEncoder(self._make(name))
            return self._shared

    def video(self, key: str) -> VideoRow:
        """A video of the library.

        Raises:
            FileNotFoundError: there is none with this id, its file is gone, or lies elsewhere than
                in the folders that were indexed.
        """
        row = self.library.catalogue.by_key([key]).get(key)
        if row is None:
            raise FileNotFoundError(f'there is no video {key!r} in the library')
        file = Path(row.path).resolve()
        roots = map(Path, self.library.catalogue.setting('roots', []))
        if not any(covers(root, str(file)) for root in roots):
            raise FileNotFoundError(f'video {key} is a link out of the folders that were indexed')
        if not file.is_file():
            raise FileNotFoundError(f'the file of video {key} is gone; update the library')
        return row

    def describe(self, hits: Iterable[Hit]) -> list[dict[str, Any]]:
        """Moments with their rank and what is known of their videos, for programs."""
        hits = list(hits)
        rows = self.library.catalogue.by_key({hit.key for hit in hits})
        return [
            dict(
                rank=rank,
                video=hit.key,
                name=Path(hit.path).name,
                path=hit.path,
                duration=rows[hit.key].duration,
                **hit.plain(),
            )
            for rank, hit in enumerate(hits, 1)
            if hit.key in rows
        ]

    def ask(self, key: str, sentence: str, number: int, scorer: str) -> list[Hit]:
        """The best moments of one video; see :meth:`Library.ask`."""
        return self.library.ask(self.video(key).path, sentence, number, scorer)

    def curve(self, key: str, sentence: str) -> dict[str, Any]:
        """How well each part of a video fits a sentence: the best of its frames in each.

        Returns:
            ``scores`` of equal parts of the video, and its ``duration`` in seconds.
        """
        self.video(key)
        frames, duration = self.library.frames(key)
        scores = frames @ self.library.encoder.encode_texts([sentence])[0]
        parts = np.array_split(scores, min(CURVE, len(scores)))
        return dict(duration=duration, scores=[round(float(part.max()), 4) for part in parts])

    def words(self, key: str, sentence: str, start: float, end: float) -> list[dict[str, Any]]:
        """How much of a moment's score by pictures is due to each word of a sentence.

        A word's share is how much the moment's score falls when it is left out of the sentence, in
        parts of all such falls; a word without which the score rises has none.

        Returns:
            ``word`` and ``share`` of the first words, in the order of the sentence.
        """
        self.video(key)
        frames, duration = self.library.frames(key)
        rate = len(frames) / duration
        first = min(int(min(start, duration) * rate), len(frames) - 1)
        moment = frames[first : max(first + 1, round(min(end, duration) * rate))].mean(0)
        found = list(re.finditer(r'\w+', sentence))[:WORDS]
        without = [sentence[: word.start()] + sentence[word.end() :] for word in found]
        whole, *rest = self.library.encoder.encode_texts([sentence, *without]) @ moment
        falls = [max(0.0, float(whole - one)) for one in rest]
        total = sum(falls) or 1.0
        return [
            dict(word=word.group(), share=round(fall / total, 3))
            for word, fall in zip(found, falls)
        ]

    def sheet(self, key: str, start: float, end: float, count: int, height: int) -> bytes:
        """A JPEG file of frames side by side, evenly from a part of a video."""
        if not 0 <= start < end:
            raise ValueError(f'from {start:g} to {end:g} s; times must satisfy 0 <= start < end')
        return self._sheet(self.video(key).path, (key, start, end), count, height)

    def _draw(self, path: str, span: Span, count: int, height: int) -> bytes:
        _, start, end = span
        times = [start + time for time in even_times(end - start, count)]
        with self._decoders:
            return sprite_sheet(path, times, height)

    def cut(self, key: str, start: float, end: float, fast: bool = False) -> tuple[Path, str]:
        """A moment as a file of its own, which stays for a while, and what to call it."""
        row = self.video(key)
        if end - start > LONGEST_CUT:
            raise ValueError(f'{end - start:g} s are to be cut, at most {LONGEST_CUT:g} s can be')
        stem = Path(row.path).stem.encode()[:LONGEST_STEM].decode(errors='ignore')
        name = f'{stem}_{start:.2f}-{end:.2f}.mp4'
        wanted = (key, start, end), fast
        # One cut always has the same lock: who asks for it too waits, and takes what was made.
        with self._cutting[hash(wanted) % CUTS], self._decoders:
            if wanted not in self._cuts or not self._cuts[wanted].exists():
                target = Path(self._folder.name, f'{uuid.uuid4().hex}.mp4')
                cut(row.path, target, start, end, fast)
                self._cuts[wanted] = target
            self._cuts.move_to_end(wanted)
            while len(self._cuts) > CUTS:
                self._cuts.popitem(last=False)[1].unlink(missing_ok=True)
            return self._cuts[wanted], name

    def export(
        self, query: str, moments: Sequence[Mapping[str, Any]], form: str, padding: float
    ) -> str:
        """Moments for editors; see :func:`~demul_mm.app.export.export`."""
        rows = [dict(moment, video=self.video(moment['video']).path) for moment in moments]
        return export(query, rows, form, padding)
