"""A segment: some videos of an index, written once and never changed.

Files, all raw little-endian numbers or text, in ``segments/<name>/``:

=================  ==================================================================
``moments.bin``    ``(N, code bytes)`` uint8: level 2
``spans.bin``      ``(N, 2)`` float32 seconds
``prototypes.bin`` ``(P, S + 4)`` uint8: level 1, int8 with a scale
``rows.bin``       ``(V + 1, 4)`` int64: where a video's moments, prototypes, id and
                   metadata start
``durations.bin``  ``(V,)`` float32 seconds
``ids.bin``        the ids, UTF-8, one after the other
``hashes.bin``     ``(2, V)`` uint64: sorted hashes of the ids, and their rows
``metadata.bin``   JSON objects, one after the other; nothing for a video without
=================  ==================================================================
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demul_mm.index.codecs import Codec, Int8Codec
from demul_mm.index.entry import VideoEntry
from demul_mm.index.prototypes import select_prototypes
from demul_mm.index.storage import CheckedFile, FileInfo, check_file, map_array, write_file

STREAMED = ('moments', 'spans', 'prototypes', 'durations', 'ids', 'metadata')


def hash_ids(ids: Sequence[str]) -> np.ndarray:
    """64-bit hashes of video ids, the same in every process."""
    digests = b''.join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(digests, '<u8')


class SegmentWriter:
    """Writes a new segment, a block of videos at a time.

    Args:
        root: folder of the index.
        name: of the segment, never used before.
        codec: of level 2.
        num_prototypes: of a video.
    """

    def __init__(self, root: Path, name: str, codec: Codec, num_prototypes: int) -> None:
        self._root = root
        self.name = name
        self._codec = codec
        self._prototype_codec = Int8Codec(codec.dim)
        self._num_prototypes = num_prototypes
        self._files = {key: CheckedFile(root, self._path(key)) for key in STREAMED}
        self._rows = [np.zeros((1, 4), np.int64)]
        self._hashes: list[np.ndarray] = []
        self.num_videos = 0

    def _path(self, key: str) -> str:
        return f'segments/{self.name}/{key}.bin'

    def append(self, entries: Sequence[VideoEntry]) -> None:
        """Encode and write some videos."""
        moments = [np.asarray(entry.moments, np.float32) for entry in entries]
        prototypes = select_prototypes(moments, self._num_prototypes)
        self.append_raw(
            ids=[entry.video_id for entry in entries],
            counts=np.array([(len(m), len(p)) for m, p in zip(moments, prototypes)]),
            moments=self._codec.encode(np.concatenate(moments)),
            spans=np.concatenate([entry.spans for entry in entries]),
            prototypes=self._prototype_codec.encode(np.concatenate(prototypes)),
            durations=np.array([entry.duration for entry in entries]),
            metadata=[
                b'' if e.metadata is None else json.dumps(e.metadata, ensure_ascii=False).encode()
                for e in entries
            ],
        )

    def append_raw(
        self,
        ids: Sequence[str],
        counts: np.ndarray,
        moments: np.ndarray,
        spans: np.ndarray,
        prototypes: np.ndarray,
        durations: np.ndarray,
        metadata: Sequence[bytes],
    ) -> None:
        """Write videos that are encoded already.

        Args:
            ids: V ids.
            counts: ``(V, 2)``: moments and prototypes of each.
            moments: ``(N, code bytes)`` uint8.
            spans: ``(N, 2)``.
            prototypes: ``(P, S + 4)`` uint8.
            durations: ``(V,)``.
            metadata: V JSON texts, possibly empty.
        """
        names = [i.encode() for i in ids]
        lengths = np.column_stack(
            [counts, [len(n) for n in names], [len(m) for m in metadata]]
        ).astype(np.int64)
        self._rows.append(self._rows[-1][-1] + np.cumsum(lengths, 0))
        self._hashes.append(hash_ids(ids))
        self._files['moments'].write(moments)
        self._files['spans'].write(spans.astype('<f4'))
        self._files['prototypes'].write(prototypes)
        self._files['durations'].write(durations.astype('<f4'))
        self._files['ids'].write(b''.join(names))
        self._files['metadata'].write(b''.join(metadata))
        self.num_videos += len(ids)

    def close(self) -> dict[str, Any]:
        """Finish all files; returns what the manifest must know of the segment."""
        rows = np.concatenate(self._rows)
        hashes = np.concatenate(self._hashes)
        order = np.argsort(hashes, kind='stable')
        hashes = np.stack([hashes[order], order.astype('<u8')])
        files: dict[str, FileInfo] = {key: file.close() for key, file in self._files.items()}
        files['rows'] = write_file(self._root, self._path('rows'), rows.astype('<i8'))
        files['hashes'] = write_file(self._root, self._path('hashes'), hashes)
        return dict(
            name=self.name,
            videos=self.num_videos,
            moments=int(rows[-1, 0]),
            prototypes=int(rows[-1, 1]),
            files=files,
        )

    def discard(self) -> None:
        """Leave no half-written file behind."""
        for file in self._files.values():
            file.discard()


class Segment:
    """A segment opened for reading; its numbers stay on the disk until they are touched.

    Args:
        root: folder of the index.
        info: what :meth:`SegmentWriter.close` returned.
        codec: of level 2.
        verify: compare checksums; sizes are always compared.
    """

    def __init__(self, root: Path, info: dict[str, Any], codec: Codec, verify: bool) -> None:
        self.info = info
        self.root = root
        self.name: str = info['name']
        self.num_videos: int = info['videos']
        self.num_prototypes: int = info['prototypes']
        self._codec = codec
        self._prototype_codec = Int8Codec(codec.dim)
        paths = {key: check_file(root, file, verify) for key, file in info['files'].items()}
        self.moments = map_array(
            paths['moments'], '|u1', (info['moments'], codec.bytes_per_row)
        )  # (N, code bytes)
        self.spans = map_array(paths['spans'], '<f4', (info['moments'], 2))
        self.prototypes = map_array(paths['prototypes'], '|u1', (info['prototypes'], codec.dim + 4))
        self.rows = map_array(paths['rows'], '<i8', (self.num_videos + 1, 4))
        self.durations = map_array(paths['durations'], '<f4', (self.num_videos,))
        self._hashes = map_array(paths['hashes'], '<u8', (2, self.num_videos))
        self._ids = map_array(paths['ids'], '|u1', (info['files']['ids']['bytes'],))
        self._metadata = map_array(paths['metadata'], '|u1', (info['files']['metadata']['bytes'],))

    def video_ids(self, rows: np.ndarray) -> list[str]:
        """Ids of some videos, in the order of ``rows``."""
        starts, ends = self.rows[rows, 2].tolist(), self.rows[rows + 1, 2].tolist()
        return [self._ids[a:b].tobytes().decode() for a, b in zip(starts, ends)]

    def raw_metadata(self, row: int) -> bytes:
        """JSON text of a video's metadata, empty where it has none."""
        start, end = self.rows[row : row + 2, 3]
        return self._metadata[start:end].tobytes()

    def find(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Where these ids are.

        Returns:
            Positions in ``ids`` and, beside them, rows of this segment; ids that are not here are
            left out.
        """
        wanted = hash_ids(ids)
        first = np.searchsorted(self._hashes[0], wanted, 'left')
        last = np.searchsorted(self._hashes[0], wanted, 'right')
        positions = np.repeat(np.arange(len(ids)), last - first)
        rows = self._hashes[1, expand_ranges(first, last)].astype(np.int64)
        # Hashes may collide.
        same = [ids[p] == held for p, held in zip(positions.tolist(), self.video_ids(rows))]
        return positions[same], rows[same]

    def decoded_prototypes(self, start: int, end: int) -> np.ndarray:
        """Prototypes ``[start, end)`` as ``(n, S)`` float32."""
        return self._prototype_codec.decode(self.prototypes[start:end]).numpy()

    def copy_into(self, writer: SegmentWriter, rows: np.ndarray) -> None:
        """Append the videos of ``rows`` (ascending) to another segment, bytes unchanged."""
        starts, ends = np.asarray(self.rows[rows]), np.asarray(self.rows[rows + 1])
        moment_rows = expand_ranges(starts[:, 0], ends[:, 0])
        prototype_rows = expand_ranges(starts[:, 1], ends[:, 1])
        writer.append_raw(
            ids=self.video_ids(rows),
            counts=(ends - starts)[:, :2],
            moments=self.moments[moment_rows],
            spans=self.spans[moment_rows],
            prototypes=self.prototypes[prototype_rows],
            durations=self.durations[rows],
            metadata=[self.raw_metadata(row) for row in rows],
        )


def expand_ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """``[start, end)`` of each pair, one after the other, as one array of int64."""
    lengths = ends - starts
    shifts = starts - np.cumsum(lengths) + lengths
    return np.repeat(shifts, lengths) + np.arange(lengths.sum())
