"""Videos that share words with a query in any form, by BM25 over what is said or written there."""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from demul_mm.stems import UNSPACED, stem

TEXT = 'text'
"""The metadata of a video that holds its words."""
K1, B = 1.2, 0.75

_WORD = re.compile(f'[{UNSPACED}]|[^\\W_{UNSPACED}]+')


def words_of(text: str) -> list[str]:
    """The stems of a text's words, whatever their case and width."""
    return [stem(word) for word in _WORD.findall(unicodedata.normalize('NFKC', text).casefold())]


def texts_of(metadata: Iterable[str | None]) -> list[str]:
    """The text in the metadata of each video, which is JSON; '' where there is none."""
    found = (json.loads(one).get(TEXT) if one else None for one in metadata)
    return [text if isinstance(text, str) else '' for text in found]


class Postings:
    """Which of some videos have which words, and how often.

    Args:
        table: ``word``, and for each of them ``videos`` and ``counts``, lists as long.
        num_videos: V.

    Attributes:
        lengths: ``(V,)``, how many words each video has.
    """

    def __init__(self, table: pa.RecordBatch, num_videos: int) -> None:
        self.table = table
        self.num_videos = num_videos
        self._rows = {word: row for row, word in enumerate(table['word'].to_pylist())}
        self._ends = table['videos'].offsets.to_numpy()
        self._videos = table['videos'].values.to_numpy()
        self._counts = table['counts'].values.to_numpy()
        self.lengths = np.bincount(self._videos, self._counts, minlength=num_videos)

    @classmethod
    def of(cls, texts: Sequence[str]) -> 'Postings':
        """Those of ``V`` videos whose texts these are."""
        videos: defaultdict[str, list[int]] = defaultdict(list)
        counts: defaultdict[str, list[int]] = defaultdict(list)
        for video, text in enumerate(texts):
            for word, count in Counter(words_of(text)).items():
                videos[word].append(video)
                counts[word].append(count)
        columns = [
            pa.array(videos, pa.string()),
            pa.array(videos.values(), pa.list_(pa.int32())),
            pa.array(counts.values(), pa.list_(pa.int32())),
        ]
        return cls(pa.record_batch(columns, ['word', 'videos', 'counts']), len(texts))

    def __call__(self, word: str) -> tuple[np.ndarray, np.ndarray]:
        """The videos ``(N,)`` that have a word, ascending, and how often ``(N,)``."""
        row = self._rows.get(word)
        part = slice(0, 0) if row is None else slice(*self._ends[row : row + 2])
        return self._videos[part], self._counts[part]


class WordIndex:
    """BM25 (Robertson et al., 1994) over the texts of videos, with its usual constants.

    Args:
        parts: postings of all videos, one part after the other.
        alive: ``(V,)`` bool: videos that count.
    """

    def __init__(self, parts: Sequence[Postings], alive: np.ndarray) -> None:
        self.parts = parts
        self.bases = np.cumsum([0] + [part.num_videos for part in parts])
        lengths = np.concatenate([np.zeros(0), *(part.lengths for part in parts)])
        self.has_text = alive & (lengths > 0)
        self.count = int(self.has_text.sum())
        mean = lengths[self.has_text].mean() if self.count else 1.0
        self.slowness = K1 * (1 - B + B * lengths / mean)  # (V,)

    @classmethod
    def of(cls, texts: Sequence[str]) -> 'WordIndex':
        """That of ``V`` videos whose texts these are."""
        return cls([Postings.of(texts)], np.ones(len(texts), bool))

    def scores(self, query: str) -> np.ndarray:
        """``(V,)`` float32: how well each video's words match; 0 where no word does."""
        total = np.zeros(len(self.has_text), np.float32)
        for word, times in Counter(words_of(query)).items():
            found = [part(word) for part in self.parts]
            owners = [base + videos for base, (videos, _) in zip(self.bases, found)]
            videos = np.concatenate([np.zeros(0, np.int64), *owners])
            counts = np.concatenate([np.zeros(0, np.int32), *(counts for _, counts in found)])
            kept = self.has_text[videos]
            videos, counts = videos[kept], counts[kept]
            rarity = np.log1p((self.count - len(videos) + 0.5) / (len(videos) + 0.5))
            total[videos] += times * rarity * counts * (K1 + 1) / (counts + self.slowness[videos])
        return total
