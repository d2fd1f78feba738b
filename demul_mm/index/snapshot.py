"""One generation of an index, as a reader sees it: all segments as one numbered row of videos.

A video's *ordinal* is its place in the segments, laid end to end in the order of the manifest.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from demul_mm.index.codecs import Int8Codec, open_codec
from demul_mm.index.entry import VideoEntry
from demul_mm.index.segment import Segment, expand_ranges
from demul_mm.index.storage import check_file, map_array


class Snapshot:
    """The videos of one manifest.

    Args:
        root: folder of the index.
        manifest: its contents.
        verify: compare checksums.
        known: an older snapshot, whose open segments are used again.
    """

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        verify: bool,
        known: 'Snapshot | None' = None,
    ) -> None:
        self.root = root
        self.manifest = manifest
        level2 = manifest['settings']['level2']
        self.codec = open_codec(root, level2, manifest['dim'], manifest['codebook'], verify)
        opened = {s.name: s for s in known.segments if s.root == root} if known else {}
        self.segments: list[Segment] = [
            opened.get(info['name']) or Segment(root, info, self.codec, verify)
            for info in manifest['segments']
        ]
        self.bases = np.cumsum([0] + [s.num_videos for s in self.segments])  # (segments + 1,)
        self.num_videos = int(self.bases[-1])
        self.prototype_bases = np.cumsum([0] + [s.num_prototypes for s in self.segments])
        self.removed = self._open_removed(verify)  # ordinals, ascending
        self._columns: dict[str, list[Any]] = {}

    def _open_removed(self, verify: bool) -> np.ndarray:
        info = self.manifest['removed']
        if info is None:
            return np.zeros(0, np.int64)
        path = check_file(self.root, info, verify)
        return np.array(map_array(path, '<i8', (info['bytes'] // 8,)))

    @property
    def num_alive(self) -> int:
        """Videos that are in the index."""
        return self.num_videos - len(self.removed)

    @cached_property
    def alive(self) -> np.ndarray:
        """``(num_videos,)`` bool, False where a video was removed."""
        mask = np.ones(self.num_videos, bool)
        mask[self.removed] = False
        return mask

    def split(self, ordinals: np.ndarray) -> Iterator[tuple[Segment, slice, np.ndarray]]:
        """Ascending ordinals by segment: the segment, which of ``ordinals``, their rows in it."""
        cuts = np.searchsorted(ordinals, self.bases)
        for i, segment in enumerate(self.segments):
            if cuts[i + 1] > cuts[i]:
                part = slice(int(cuts[i]), int(cuts[i + 1]))
                yield segment, part, ordinals[part] - self.bases[i]

    def gather(self, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Level 2 of some videos.

        Args:
            ordinals: ``(C,)`` ascending.

        Returns:
            Moment codes ``(N, code bytes)``, and ``(C + 1,)`` where each video starts in them.
        """
        parts = []
        offsets = np.zeros(len(ordinals) + 1, np.int64)
        for segment, part, rows in self.split(ordinals):
            starts, ends = segment.rows[rows, 0], segment.rows[rows + 1, 0]
            offsets[1:][part] = ends - starts
            parts.append((segment.moments, expand_ranges(starts, ends)))
        np.cumsum(offsets, out=offsets)
        codes = np.empty((int(offsets[-1]), self.codec.bytes_per_row), np.uint8)
        filled = 0
        for moments, rows in parts:
            np.take(moments, rows, 0, out=codes[filled : filled + len(rows)], mode='clip')
            filled += len(rows)
        return codes, offsets

    def gather_spans(self, ordinals: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Spans of moments of videos.

        Args:
            ordinals: ``(N,)``, in any order.
            moments: ``(N,)``, which moment of the video.

        Returns:
            ``(N, 2)`` float32 seconds.
        """
        order = np.argsort(ordinals, kind='stable')
        spans = np.empty((len(ordinals), 2), np.float32)
        for segment, part, rows in self.split(ordinals[order]):
            places = order[part]
            spans[places] = segment.spans[segment.rows[rows, 0] + moments[places]]
        return spans

    def entry(self, ordinal: int) -> VideoEntry:
        """One video, its moments as they are stored."""
        number = int(np.searchsorted(self.bases, ordinal, 'right')) - 1
        segment, row = self.segments[number], ordinal - int(self.bases[number])
        start, end = segment.rows[row : row + 2, 0]
        raw = segment.raw_metadata(row)
        return VideoEntry(
            video_id=segment.video_ids(np.array([row]))[0],
            moments=self.codec.decode(segment.moments[start:end]).numpy(),
            spans=np.array(segment.spans[start:end]),
            duration=float(segment.durations[row]),
            metadata=json.loads(raw) if raw else None,
        )

    def video_ids(self, ordinals: np.ndarray) -> list[str]:
        """Ids of videos, in the order given."""
        order = np.argsort(ordinals, kind='stable')
        names = np.empty(len(ordinals), object)
        for segment, part, rows in self.split(ordinals[order]):
            names[order[part]] = segment.video_ids(rows)
        return names.tolist()

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Ordinals of ids ``(N,)``, -1 where the index does not hold one."""
        ordinals = np.full(len(ids), -1, np.int64)
        for segment, base in zip(self.segments, self.bases):
            positions, rows = segment.find(ids)
            found = rows + base
            present = ~np.isin(found, self.removed)
            ordinals[positions[present]] = found[present]
        return ordinals

    def metadata(self) -> Iterator[dict[str, Any]]:
        """Metadata of all videos by ordinal, removed ones too; ``{}`` where there is none."""
        for segment in self.segments:
            for row in range(segment.num_videos):
                raw = segment.raw_metadata(row)
                yield json.loads(raw) if raw else {}

    def column(self, key: str) -> list[Any]:
        """One metadata value of all videos by ordinal, None where absent; read once."""
        if key not in self._columns:
            self._columns[key] = [values.get(key) for values in self.metadata()]
        return self._columns[key]

    def prototype_codes(self, start: int, end: int) -> np.ndarray:
        """Prototypes ``[start, end)``, numbered like videos, as stored: ``(n, S + 4)`` uint8."""
        found = [np.empty((0, self.codec.dim + 4), np.uint8)]
        for segment, base in zip(self.segments, self.prototype_bases):
            first, last = max(start - base, 0), min(end - base, segment.num_prototypes)
            if first < last:
                found.append(segment.prototypes[int(first) : int(last)])
        return np.concatenate(found)

    def prototypes(self, start: int, end: int) -> np.ndarray:
        """The same as ``(n, S)`` float32."""
        return Int8Codec(self.codec.dim).decode(self.prototype_codes(start, end)).numpy()

    def prototype_videos(self) -> np.ndarray:
        """``(P,)`` int32: the ordinal of each prototype's video."""
        owners = [np.zeros(0, np.int32)]
        for segment, base in zip(self.segments, self.bases):
            counts = np.diff(segment.rows[:, 1])
            owners.append(np.repeat(np.arange(base, base + len(counts), dtype=np.int32), counts))
        return np.concatenate(owners)
