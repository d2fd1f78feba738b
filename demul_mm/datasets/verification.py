"""Finding all that is wrong with the features and files of a data set at once."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from demul_mm.datasets.stores import FeatureStore, PackedStore
from demul_mm.datasets.stores.base import check_length
from demul_mm.registry import FEATURE_STORES

CHUNK = 64

# Of some videos: faults as (kind, video id, detail), and widths of features by video id.
Checked = tuple[list[tuple[str, str, str]], dict[str, int]]


@dataclass
class Findings:
    """What was found, by kind of fault: ``(video id, detail)`` of each."""

    checked: int = 0
    faults: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, kind: str, video_id: str, detail: str) -> None:
        """Note one more fault."""
        self.faults.setdefault(kind, []).append((video_id, detail))

    @property
    def bad(self) -> int:
        """Number of faults."""
        return sum(len(found) for found in self.faults.values())

    def table(self, examples: int = 3) -> str:
        """One line for each kind of fault: the count, the kind, examples."""
        lines = []
        for kind, found in self.faults.items():
            shown = '; '.join(f'{video_id}: {detail}' for video_id, detail in found[:examples])
            more = '; ...' if len(found) > examples else ''
            lines.append(f'{len(found):>8,}  {kind:<18} {shown}{more}')
        return '\n'.join(lines)


def check_features_of(
    store_config: dict,
    items: Sequence[dict],
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Findings:
    """Read the features of all videos and note what is wrong with them.

    Kinds: ``missing``, ``unreadable``, ``shape``, ``empty``, ``wrong dimension`` (other than the
    config's ``dim``, or, where it gives none, than that of most videos), ``NaN or infinity``,
    ``changed`` (bytes of a packed store that do not fit their checksum), ``wrong length`` (rows
    times ``clip_seconds`` differ from the duration by more than a tenth and two clips).

    Args:
        items: all of the data set: ``video_id``, ``duration``.
        workers: processes; 0: this one.
        progress: called with the number of videos done since the last call.

    Returns:
        The findings, in the order of the videos whatever the number of workers.
    """
    pairs = [(item['video_id'], item['duration']) for item in items]
    chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    findings = Findings()
    dims: dict[str, int] = {}
    if workers:
        pool = ProcessPoolExecutor(workers, initializer=_open_store, initargs=(store_config,))
        with pool:
            results = list(_follow(pool.map(_check_chunk, chunks), chunks, progress))
    else:
        _open_store(store_config)
        results = list(_follow(map(_check_chunk, chunks), chunks, progress))
    for faults, widths in results:
        dims.update(widths)
        for fault in faults:
            findings.add(*fault)
    findings.checked = len(pairs)
    expected = store_config.get('dim')
    if expected is None and dims:
        expected = Counter(dims.values()).most_common(1)[0][0]
    for video_id, width in dims.items():
        if width != expected:
            findings.add('wrong dimension', video_id, f'{width}, expected {expected}')
    return findings


def check_videos_of(items: Sequence[dict]) -> Findings:
    """Note the videos whose file is not there or empty."""
    findings = Findings(checked=len(items))
    for item in items:
        path = item['video_path']
        if path is None:
            findings.add('no video file', item['video_id'], 'the annotation names none')
        elif not os.path.exists(path):
            findings.add('no video file', item['video_id'], path)
        elif os.path.getsize(path) == 0:
            findings.add('empty video file', item['video_id'], path)
    return findings


def _follow(
    results: Iterable[Checked], chunks: Sequence, progress: Callable[[int], None] | None
) -> Iterator[Checked]:
    for result, chunk in zip(results, chunks):
        if progress is not None:
            progress(len(chunk))
        yield result


_store: FeatureStore | None = None  # that of this process


def _open_store(config: dict) -> None:
    global _store
    # Without dim, so that all other faults of a video of another width are found as well.
    _store = FEATURE_STORES.build({k: v for k, v in config.items() if k != 'dim'})


def _check_chunk(pairs: Sequence[tuple[str, float]]) -> Checked:
    assert _store is not None
    faults: list[tuple[str, str, str]] = []
    dims: dict[str, int] = {}
    for video_id, duration in pairs:
        fault = _check_video(_store, video_id, duration, dims)
        if fault is not None:
            faults.append((fault[0], video_id, fault[1]))
    return faults, dims


def _check_video(
    store: FeatureStore, video_id: str, duration: float, dims: dict[str, int]
) -> tuple[str, str] | None:
    """The first fault of a video as (kind, detail); notes its width in ``dims``."""
    if video_id not in store:
        return 'missing', f'not in {store.path}'
    try:
        rows = np.asarray(store.read(video_id))
    except (ValueError, OSError, KeyError) as error:
        return 'unreadable', str(error)
    if rows.ndim != 2:
        return 'shape', f'{rows.shape}, expected (rows, dim)'
    if rows.size == 0:
        return 'empty', f'shape {rows.shape}'
    dims[video_id] = rows.shape[1]
    bad = int((~np.isfinite(rows)).any(axis=1).sum())
    if bad:
        return 'NaN or infinity', f'{bad} of {len(rows)} rows'
    if isinstance(store, PackedStore) and not store.verify(video_id):
        return 'changed', 'the checksum does not fit; make the features again'
    if store.clip_seconds is not None:
        length = check_length(len(rows) * store.clip_seconds, duration, store.clip_seconds)
        if length:
            return 'wrong length', length
    return None
