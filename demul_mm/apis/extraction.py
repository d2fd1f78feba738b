"""Features of many videos by any registered backbone: what ``tools/extract_features.py`` does."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from demul_mm.apis.extractor import Backbone, make_backbone
from demul_mm.cluster import Cluster
from demul_mm.datasets import PackedWriter
from demul_mm.datasets.transforms.decode_clips import iter_clips, stream_features
from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.files import inside, read_text, replacing

# Ids of videos as they are done, and their features or why there are none.
Made = Iterator[tuple[str, np.ndarray | None, str | None]]

DEFAULT_CLIPS = dict(clip_seconds=0.5, window_seconds=1.0, frames_per_clip=4, size=64)


def load_backbone(
    config: str | None, checkpoint: str | None, device: str | None = None
) -> Backbone:
    """The backbone that a config describes, or else a checkpoint.

    Args:
        config: file with ``backbone`` and, optionally, ``clips``.
        checkpoint: its weights; one of ``tools/pretrain_backbone.py`` needs no config.
        device: where it runs; None: a GPU where there is one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: neither describes a backbone, or the weights are of another one.
    """
    content: dict[str, Any] | None = None
    provenance: dict[str, Any] = {'made_by': 'tools/extract_features.py'}
    if checkpoint:
        content = read_checkpoint(checkpoint)
        digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()[:16]
        provenance['checkpoint'] = digest
    meta = (content or {}).get('meta', {})
    if config:
        given = Config.fromfile(config).to_dict()
        meta = {'backbone': given.get('backbone'), 'clips': given.get('clips', DEFAULT_CLIPS)}
    if not meta.get('backbone'):
        raise ValueError(
            f"{config or checkpoint} describes no backbone; give a --config with 'backbone'"
        )
    clips = {**meta.get('clips', DEFAULT_CLIPS)}
    provenance = {**provenance, 'backbone': meta['backbone'], 'clips': clips}
    return make_backbone(meta['backbone'], clips, checkpoint, content, device, provenance)


class ClipStream(IterableDataset):
    """Batches of clips of many videos, in bounded memory: (index, clips | None, error | None).

    A video's batches come in order and end with None.
    """

    def __init__(self, videos: list[tuple[str, str]], clips: dict, batch: int) -> None:
        self.videos, self.clips, self.batch = videos, clips, batch

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor | None, str | None]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for index in range(first, len(self.videos), step):
            error = None
            try:
                for clips, _ in iter_clips(self.videos[index][1], batch=self.batch, **self.clips):
                    yield index, torch.from_numpy(clips), None
            except (ValueError, FileNotFoundError) as problem:
                error = str(problem)
            yield index, None, error


class FolderWriter:
    """Writes one .npy or .safetensors for each video; used as :class:`PackedWriter` is.

    Ids may have slashes; one that leads out of the folder is refused.
    """

    def __init__(self, path: str | Path, suffix: str, provenance: dict) -> None:
        self.path, self.suffix = Path(path), suffix
        self.path.mkdir(parents=True, exist_ok=True)
        manifest = self.path / 'manifest.json'
        text = json.dumps({'simulated': False, 'provenance': provenance}, indent=1)
        if manifest.exists():
            if read_text(manifest) != text:
                raise ValueError(f'{path} holds features made otherwise: give another folder')
            return
        with replacing(manifest, shared=True) as temporary:
            temporary.write_text(text, encoding='utf-8')

    def _file(self, video_id: str) -> Path:
        return inside(self.path, video_id, f'.{self.suffix}')

    def __contains__(self, video_id: str) -> bool:
        return self._file(video_id).exists()

    def add(self, video_id: str, features: np.ndarray) -> None:
        with replacing(self._file(video_id)) as temporary:
            if self.suffix == 'npy':
                np.save(temporary, features)
            else:
                # safetensors writes bytes as they lie in memory, whatever the order of the axes.
                save_file({'features': np.ascontiguousarray(features)}, temporary)

    def __enter__(self) -> 'FolderWriter':
        return self

    def __exit__(self, *_: object) -> None:
        pass


def open_writer(path: str, form: str, backbone: Backbone) -> PackedWriter | FolderWriter:
    """What writes features.

    Args:
        path: folder.
        form: 'packed', or a file for each video: 'npy' or 'safetensors'.
        backbone: whose features they are.
    """
    if form == 'packed':
        return PackedWriter(path, dim=backbone.width(), provenance=backbone.provenance)
    return FolderWriter(path, form, backbone.provenance)


def extract(
    videos: Mapping[str, str],
    backbone: Backbone,
    writer: PackedWriter | FolderWriter,
    batch: int,
    workers: int,
    cluster: Cluster | None = None,
) -> list[str]:
    """Write the features of all videos; what is written already stays.

    Args:
        videos: paths by id.
        backbone: makes the features; on the CPU for a cluster.
        writer: takes them.
        batch: clips encoded at once.
        workers: decoding processes.
        cluster: whose workers get the backbone, and use it on their GPU if they have one; None:
            this process does all.

    Returns:
        What could not be read, a line for each video.
    """
    todo = {video_id: path for video_id, path in videos.items() if video_id not in writer}
    if cluster is None:
        made = _extract_here(todo, backbone, batch, workers)
    else:
        made = _extract_there(todo, backbone, batch, cluster)
    failures = []
    bar = dict(desc='features', unit='video', disable=not is_main_process())
    for video_id, features, error in tqdm(made, total=len(todo), **bar):
        if features is None:
            failures.append(f'{video_id}: {error}')
        else:
            writer.add(video_id, features)
    return failures


def _extract_here(videos: Mapping[str, str], backbone: Backbone, batch: int, workers: int) -> Made:
    listed = list(videos.items())
    stream = ClipStream(listed, backbone.clips, batch)
    parts: dict[int, list[np.ndarray]] = {}
    for index, clips, error in DataLoader(stream, batch_size=None, num_workers=workers):
        if clips is not None:
            parts.setdefault(index, []).append(backbone.encode(clips))
            continue
        rows = parts.pop(index, [])
        yield listed[index][0], None if error else np.concatenate(rows), error


def _extract_there(
    videos: Mapping[str, str], backbone: Backbone, batch: int, cluster: Cluster
) -> Made:
    ids: dict[str, list[str]] = {}
    for video_id, path in videos.items():
        ids.setdefault(os.path.abspath(path), []).append(video_id)
    for path, features, error in cluster.run(partial(_features_with, backbone, batch), ids):
        for video_id in ids[path]:
            yield video_id, features, error


def _features_with(backbone: Backbone, batch: int) -> Callable[[str], np.ndarray]:
    """What makes of a path the features ``(T, d)`` of the video."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    encode = backbone._replace(model=backbone.model.to(device), device=device).encode
    return lambda path: stream_features(path, backbone.clips, encode, batch=batch)[0]
