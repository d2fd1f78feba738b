"""From one generation of an index to the next: manifests, merging, tidying."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demul_mm.index.codecs import ProductCodec
from demul_mm.index.segment import SegmentWriter
from demul_mm.index.snapshot import Snapshot
from demul_mm.index.storage import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PENDING,
    read_json,
    write_file,
    write_json,
)
from demul_mm.index.writing import BLOCK, Pending

if TYPE_CHECKING:
    from demul_mm.index.folder import IndexFolder

# So many small segments at the end of an index are merged into one.
MAX_SMALL_SEGMENTS = 8


def read_old(root: Path) -> dict[str, Any] | None:
    """The manifest in ``root``, None where there is none."""
    return read_json(root, MANIFEST) if (root / MANIFEST).is_file() else None


def next_segment(root: Path, old: dict[str, Any] | None) -> int:
    """Number for the next segment: never one that a manifest or an unfinished run has used."""
    pending = Pending.load(root)
    return max(old['next_segment'] if old else 1, pending.next_segment if pending else 1)


def new_manifest(
    index: 'IndexFolder', settings: dict[str, Any], pending: Pending, old: dict[str, Any] | None
) -> dict[str, Any]:
    """The manifest of an index that was just built."""
    manifest = dict(
        format=FORMAT,
        version=FORMAT_VERSION,
        generation=old['generation'] + 1 if old else 1,
        backend=type(index).__name__,
        options=index.options(),
        settings=settings,
        dim=pending.dim,
        codebook=pending.codebook,
        metric='inner_product',
        segment_videos=index.segment_videos,
        next_segment=pending.next_segment,
        segments=pending.segments,
        removed=None,
        level1=None,
    )
    return _count(manifest)


def next_manifest(old: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest of the next generation, with these segments."""
    return _count(dict(old, generation=old['generation'] + 1, segments=segments))


def _count(manifest: dict[str, Any]) -> dict[str, Any]:
    removed = manifest['removed']
    number = removed['bytes'] // 8 if removed else 0
    totals = {
        key: sum(s[key] for s in manifest['segments'])
        for key in ('videos', 'moments', 'prototypes')
    }
    totals['videos'] -= number
    manifest['counts'] = dict(totals, removed=number)
    return manifest


def set_removed(root: Path, manifest: dict[str, Any], ordinals: np.ndarray) -> None:
    """Write the ordinals of removed videos and name the file in ``manifest``."""
    manifest['removed'] = None
    if len(ordinals):
        name = f'removed-{manifest["generation"]:06d}.bin'
        manifest['removed'] = write_file(root, name, np.sort(ordinals).astype('<i8'))
    _count(manifest)


def rewrite(root: Path, snapshot: Snapshot, segment_videos: int) -> dict[str, Any]:
    """Copy all videos that are not removed into new segments of ``root``; their manifest."""
    manifest = dict(snapshot.manifest)
    if root != snapshot.root:
        manifest.update(generation=0, next_segment=1)
        if isinstance(snapshot.codec, ProductCodec):
            name = manifest['codebook']['path']
            manifest['codebook'] = write_file(root, name, snapshot.codec.codebook)
    alive = np.flatnonzero(snapshot.alive)
    segments = []
    number = next_segment(root, manifest)
    for start in range(0, len(alive), segment_videos):
        segments.append(_copy(root, snapshot, alive[start : start + segment_videos], number))
        number += 1
    manifest.update(next_segment=number, removed=None, level1=None)
    return next_manifest(manifest, segments)


def _copy(root: Path, snapshot: Snapshot, ordinals: np.ndarray, number: int) -> dict[str, Any]:
    writer = SegmentWriter(
        root, f'{number:06d}', snapshot.codec, snapshot.manifest['settings']['num_prototypes']
    )
    try:
        for start in range(0, len(ordinals), BLOCK):
            for segment, _, rows in snapshot.split(ordinals[start : start + BLOCK]):
                segment.copy_into(writer, rows)
        return writer.close()
    except BaseException:
        writer.discard()
        raise


def merge_small(root: Path, manifest: dict[str, Any], segment_videos: int) -> dict[str, Any]:
    """Merge the small segments at the end, if there are too many of them.

    Many small additions would otherwise make every search visit as many files. Segments that
    level 1 has indexed stay as they are, because it refers to their videos by number.
    """
    segments = manifest['segments']
    covered = manifest['level1'].get('covered', 0) if manifest['level1'] else 0
    first = len(segments)
    while first > covered and segments[first - 1]['videos'] < segment_videos:
        first -= 1
    if len(segments) - first <= MAX_SMALL_SEGMENTS:
        return manifest
    snapshot = Snapshot(root, manifest, verify=False)
    start = snapshot.bases[first]
    alive = np.flatnonzero(snapshot.alive[start:]) + start
    kept = segments[:first]
    if len(alive):
        kept = [*kept, _copy(root, snapshot, alive, next_segment(root, manifest))]
    merged = dict(manifest, segments=kept, next_segment=next_segment(root, manifest) + 1)
    set_removed(root, merged, snapshot.removed[snapshot.removed < start])
    return merged


def publish(root: Path, manifest: dict[str, Any], finished: bool) -> None:
    """Make ``manifest`` the index, and delete what it does not need.

    Readers that have opened the generation before keep its files until they close them.

    Args:
        root: folder of the index.
        manifest: of the new generation.
        finished: the pending record belongs to this commit; otherwise it and its segments stay.
    """
    write_json(root, MANIFEST, manifest)
    if finished:
        (root / PENDING).unlink(missing_ok=True)
    pending = Pending.load(root)
    keep = {s['name'] for s in manifest['segments'] + (pending.segments if pending else [])}
    for folder in (root / 'segments').iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)
    named = [manifest['removed'], manifest['codebook'], *manifest['level1'].get('files', [])]
    if pending:
        named.append(pending.codebook)
    keep = {info['path'] for info in named if info}
    for pattern in ('removed-*', 'codebook-*', 'level1-*', '*.tmp'):
        for path in root.glob(pattern):
            if path.name not in keep and path.is_file():
                path.unlink(missing_ok=True)


def stats(snapshot: Snapshot) -> dict[str, Any]:
    """Counts, sizes and provenance of a generation."""
    manifest = snapshot.manifest
    parts: dict[str, int] = {}
    for segment in manifest['segments']:
        for key, info in segment['files'].items():
            parts[key] = parts.get(key, 0) + info['bytes']
    if manifest['codebook']:
        parts['codebook'] = manifest['codebook']['bytes']
    parts['level1'] = sum(i['bytes'] for i in manifest['level1'].get('files', []))
    videos = manifest['counts']['videos']
    return dict(
        path=str(snapshot.root),
        backend=manifest['backend'],
        generation=manifest['generation'],
        dim=manifest['dim'],
        **manifest['counts'],
        segments=len(manifest['segments']),
        bytes_on_disk=sum(parts.values()),
        bytes_per_video=sum(parts.values()) / max(videos, 1),
        bytes_by_part=parts,
        level1={k: v for k, v in manifest['level1'].items() if k != 'files'},
        **manifest['settings'],
    )
