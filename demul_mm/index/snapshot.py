"""One version of an index, as a reader sees it: all fragments as one numbered row of videos.

A video's *ordinal* is its place in the fragments, laid end to end. Removed videos have one too.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demul_mm.index.cache import Block, Fragment
from demul_mm.index.codecs import Codec, make_codec
from demul_mm.index.entry import VideoEntry
from demul_mm.index.store import Store, read_info
from demul_mm.index.words import Postings, WordIndex, texts_of

if TYPE_CHECKING:
    import lance


def codec_of(info: dict[str, Any]) -> Codec:
    """The codec of level 2 that an index's info describes."""
    book = info['codebook'] and np.frombuffer(base64.b64decode(info['codebook']), '<f4')
    return make_codec(info['settings']['level2'], info['dim'], book)


class Snapshot(ABC):
    """The videos of one version; subclasses say where their moments are.

    Args:
        info: what is known of the index.
        version: its number.
        rows: ``id``, ``duration`` and ``metadata`` of the videos, some in each batch.
        alive: ``(num_videos,)`` bool.
        counts: ``(num_videos,)``, how many moments each has.
    """

    num_bytes = 0  # of the data set on the disk
    num_fragments = 0

    def __init__(
        self,
        info: dict[str, Any],
        version: int,
        rows: Sequence[pa.RecordBatch],
        alive: np.ndarray,
        counts: np.ndarray,
    ) -> None:
        self.info = info
        self.version = version
        self.rows = rows
        self.alive = alive
        self.counts = counts
        self.codec = codec_of(info)
        self.num_videos = len(alive)
        self.bases = np.cumsum([0] + [len(batch) for batch in rows])
        self._columns: dict[str, pa.Array] = {}

    @abstractmethod
    def gather(self, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Level 2 of some videos.

        Args:
            ordinals: ``(C,)`` ascending.

        Returns:
            Moment codes ``(N, code bytes)``, and ``(C + 1,)`` where each video starts in them.
        """

    @abstractmethod
    def gather_spans(self, ordinals: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Spans of moments of videos.

        Args:
            ordinals: ``(N,)``, in any order.
            moments: ``(N,)``, which moment of the video.

        Returns:
            ``(N, 2)`` float32 seconds.
        """

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """Of all videos, removed ones too."""
        return pa.chunked_array([batch['id'] for batch in self.rows], pa.string())

    def split(self, ordinals: np.ndarray) -> Iterator[tuple[int, slice, np.ndarray]]:
        """Ascending ordinals by batch: the batch, which of ``ordinals``, their rows in it."""
        cuts = np.searchsorted(ordinals, self.bases)
        for i in np.flatnonzero(np.diff(cuts)):
            part = slice(int(cuts[i]), int(cuts[i + 1]))
            yield int(i), part, ordinals[part] - self.bases[i]

    def entry(self, ordinal: int) -> VideoEntry:
        """One video, its moments as they are stored."""
        ((i, _, (row,)),) = self.split(np.array([ordinal]))
        values = self.rows[i].slice(row, 1).select(['id', 'duration', 'metadata']).to_pylist()[0]
        codes, _ = self.gather(np.array([ordinal]))
        moments = np.arange(len(codes))
        return VideoEntry(
            video_id=values['id'],
            moments=self.codec.decode(codes).numpy(),
            spans=self.gather_spans(np.full_like(moments, ordinal), moments),
            duration=values['duration'],
            metadata=json.loads(values['metadata']) if values['metadata'] else None,
        )

    def video_ids(self, ordinals: np.ndarray) -> list[str]:
        """Ids of videos, in the order given."""
        order = np.argsort(ordinals, kind='stable')
        names = np.empty(len(ordinals), object)
        for i, part, rows in self.split(ordinals[order]):
            names[order[part]] = self.rows[i]['id'].take(pa.array(rows)).to_pylist()
        return names.tolist()

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Ordinals of ids ``(N,)``, -1 where the index does not hold one."""
        mask = pc.is_in(self.ids, value_set=pa.array(ids, pa.string()))
        ordinals = np.flatnonzero(mask.to_numpy() & self.alive)
        known = dict(zip(self.video_ids(ordinals), ordinals.tolist()))
        return np.array([known.get(name, -1) for name in ids], np.int64)

    @cached_property
    def metadata(self) -> list[dict[str, Any]]:
        """Metadata of all videos by ordinal, removed ones too; ``{}`` where there is none."""
        texts = (text for batch in self.rows for text in batch['metadata'].to_pylist())
        return [json.loads(text) if text else {} for text in texts]

    @cached_property
    def words(self) -> WordIndex:
        """The words of all videos, of those that have any."""
        return WordIndex(self._postings(), self.alive)

    def _postings(self) -> list[Postings]:
        return [Postings.of(texts_of(batch['metadata'].to_pylist())) for batch in self.rows]

    def column(self, key: str) -> pa.Array:
        """One metadata value of all videos by ordinal, null where absent, of one type.

        Raises:
            ValueError: no video has it, or videos have it in different types.
        """
        if key not in self._columns:
            names = sorted({name for values in self.metadata for name in values})
            if key not in names:
                raise ValueError(
                    f'no video has metadata {key!r}; there are {", ".join(names) or "none"}'
                )
            try:
                self._columns[key] = pa.array([values.get(key) for values in self.metadata])
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise ValueError(
                    f'metadata {key!r} is of different types in different videos ({error}); give '
                    'all of them one type'
                ) from None
        return self._columns[key]


class MappedSnapshot(Snapshot):
    """The videos of one version, mapped from the caches of its fragments.

    Args:
        table: the data set, of that version.
        store: where the index is kept.
        verify: compare checksums.
        known: another snapshot, whose open fragments are used again.
    """

    def __init__(
        self,
        table: lance.LanceDataset,
        store: Store,
        verify: bool,
        known: MappedSnapshot | None = None,
    ) -> None:
        info = read_info(table)
        opened = {fragment.name: fragment for fragment in known.fragments} if known else {}
        number, codec = info['settings']['num_prototypes'], codec_of(info)
        sources = store.fragments(table, verify)
        self.fragments: list[Fragment] = [
            opened.get(Path(source.data_files()[0].path).stem)
            or Fragment(source, store.cache, codec, number, verify)
            for source in sources
        ]
        self.blocks: list[Block] = [b for fragment in self.fragments for b in fragment.blocks]
        alive = [f.alive(source) for f, source in zip(self.fragments, sources)]
        super().__init__(
            info,
            table.version,
            rows=[block.rows for block in self.blocks],
            alive=np.concatenate([np.zeros(0, bool), *alive]),
            counts=np.concatenate([np.zeros(0, int), *(f.counts for f in self.fragments)]),
        )
        self.fragment_bases = np.cumsum([0] + [f.num_videos for f in self.fragments])
        self.num_bytes = sum(fragment.bytes for fragment in self.fragments)
        self.num_fragments = len(self.fragments)

    def _postings(self) -> list[Postings]:
        return [fragment.postings() for fragment in self.fragments]

    def gather(self, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        offsets = np.zeros(len(ordinals) + 1, np.int64)
        for i, part, rows in self.split(ordinals):
            block = self.blocks[i]
            starts, ends = block.starts[rows], block.starts[rows + 1]
            offsets[1:][part] = ends - starts
            parts.append((block.moments, expand_ranges(starts, ends)))
        np.cumsum(offsets, out=offsets)
        codes = np.empty((int(offsets[-1]), self.codec.bytes_per_row), np.uint8)
        filled = 0
        for moments, rows in parts:
            np.take(moments, rows, 0, out=codes[filled : filled + len(rows)], mode='clip')
            filled += len(rows)
        return codes, offsets

    def gather_spans(self, ordinals: np.ndarray, moments: np.ndarray) -> np.ndarray:
        order = np.argsort(ordinals, kind='stable')
        spans = np.empty((len(ordinals), 2), np.float32)
        for i, part, rows in self.split(ordinals[order]):
            block, places = self.blocks[i], order[part]
            spans[places] = block.spans[block.starts[rows] + moments[places]]
        return spans


def expand_ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """``[start, end)`` of each pair, one after the other, as one array of int64."""
    lengths = ends - starts
    shifts = starts - np.cumsum(lengths) + lengths
    return np.repeat(shifts, lengths) + np.arange(lengths.sum())
