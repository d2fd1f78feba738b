"""Turn videos into clip features with any registered backbone.

The videos are those of a JSONL annotation, all in a folder, or the lines of a text file. The
backbone is the one a checkpoint of tools/pretrain_backbone.py describes, or that of a config::

    backbone = dict(type='FrameEncoder', backbone=dict(type='mmaction.ResNet3dSlowOnly', ...))
    clips = dict(clip_seconds=1.0, frames_per_clip=8, size=224)

where `clips` has the arguments of LoadVideoClips. Run again to finish what was interrupted. A video
that cannot be read is left out and listed at the end; the exit code is then 1.

Examples:
    python tools/extract_features.py data/rendered/train.jsonl data/rendered/features \\
        --checkpoint work_dirs/backbone.pth
    python tools/extract_features.py my_videos/ features/slowonly --config slowonly.py \\
        --checkpoint slowonly.pth --format npy --device cuda
"""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # decoders and encoder share the cores

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from safetensors.numpy import save_file
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from demul_mm.datasets import PackedWriter
from demul_mm.datasets.transforms.decode_clips import iter_clips
from demul_mm.files import VIDEO_SUFFIXES, replacing
from demul_mm.models.backbones.frame_encoder import FrameEncoder
from demul_mm.precision import autocast
from demul_mm.registry import MODELS

DEFAULT_CLIPS = dict(clip_seconds=0.5, window_seconds=1.0, frames_per_clip=4, size=64)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'videos', nargs='+', help='JSONL annotations, folders of videos, or .txt lists of paths'
    )
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--checkpoint', help='weights of the backbone')
    parser.add_argument('--config', help="config with 'backbone' and, optionally, 'clips'")
    parser.add_argument('--video-root', help="where a JSONL's files are (default: its folder)")
    parser.add_argument('--format', choices=['packed', 'npy', 'safetensors'], default='packed')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch', type=int, default=128, help='clips at once (default: 128)')
    parser.add_argument('--workers', type=int, default=2, help='decoding processes (default: 2)')
    args = parser.parse_args()
    if not args.checkpoint and not args.config:
        parser.error('give --checkpoint (of tools/pretrain_backbone.py), --config, or both')
    return args


def list_videos(source: str, root: str | None) -> list[tuple[str, str]]:
    """(video id, path) of the videos of an annotation, a folder or a list."""
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
        return [(p.stem, str(p)) for p in files]
    if not path.is_file():
        raise FileNotFoundError(f'{source}: no such file; give a .jsonl, a folder or a .txt list')
    lines = [line for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
    if path.suffix == '.txt':
        return [(Path(line).stem, str(path.parent / line)) for line in lines]
    base, rows = Path(root or path.parent), [json.loads(line) for line in lines]
    nameless = [row['video_id'] for row in rows if not row.get('video')]
    if nameless:
        raise ValueError(f"{source}: video {nameless[0]!r} names no file; add its key 'video'")
    return [(row['video_id'], str(base / row['video'])) for row in rows]


def load_backbone(config: str | None, checkpoint: str | None) -> tuple[nn.Module, dict, dict]:
    """The backbone in eval mode, its clip options, and where both come from."""
    content = {}
    provenance: dict = {'made_by': 'tools/extract_features.py'}
    if checkpoint:
        content = torch.load(checkpoint, map_location='cpu', weights_only=True)
        digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()[:16]
        provenance['checkpoint'] = digest
    meta = content.get('meta', {})
    if config:
        given = Config.fromfile(config).to_dict()
        meta = {'backbone': given.get('backbone'), 'clips': given.get('clips', DEFAULT_CLIPS)}
    if not meta.get('backbone'):
        raise ValueError(
            f"{config or checkpoint} describes no backbone; give a --config with 'backbone'"
        )
    model = MODELS.build(meta['backbone'])
    if content:
        load_weights(model, content.get('state_dict', content), str(checkpoint))
    elif hasattr(model, 'init_weights'):
        model.init_weights()  # what the config itself names as pretrained
    clips = {**meta.get('clips', DEFAULT_CLIPS)}
    return model.eval(), clips, {**provenance, 'backbone': meta['backbone'], 'clips': clips}


def load_weights(model: nn.Module, weights: dict, name: str) -> None:
    """Load weights of the backbone, of a FrameEncoder around it, or of a recognizer."""
    target = model.backbone if isinstance(model, FrameEncoder) else model
    inner = {k.removeprefix('backbone.'): v for k, v in weights.items() if 'cls_head' not in k}
    result = target.load_state_dict(inner, strict=False)
    if result.missing_keys:
        raise ValueError(
            f'{name} lacks {len(result.missing_keys)} weights of {type(target).__name__} '
            f'({result.missing_keys[0]}, ...): give the checkpoint that belongs to the config'
        )


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
    """One .npy or .safetensors for each video, with the same use as PackedWriter."""

    def __init__(self, path: str, suffix: str, provenance: dict) -> None:
        self.path, self.suffix = Path(path), suffix
        self.path.mkdir(parents=True, exist_ok=True)
        manifest = self.path / 'manifest.json'
        text = json.dumps({'simulated': False, 'provenance': provenance}, indent=1)
        if manifest.exists() and manifest.read_text() != text:
            raise ValueError(f'{path} holds features made otherwise: give another folder')
        manifest.write_text(text)

    def _file(self, video_id: str) -> Path:
        return self.path / f'{video_id}.{self.suffix}'

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


@torch.inference_mode()
def encode(model: nn.Module, clips: torch.Tensor, device: str) -> np.ndarray:
    """Features (n, d) of clips (n, 3, t, H, W)."""
    with autocast('auto', device):
        clips = clips.to(device)
        features = model([clips])[0] if isinstance(model, FrameEncoder) else model(clips)
    if features.ndim > 2:
        features = features.flatten(2).mean(2)
    return features.float().cpu().numpy()


def extract(
    videos: list[tuple[str, str]],
    model: nn.Module,
    clips: dict,
    writer: PackedWriter | FolderWriter,
    args: argparse.Namespace,
) -> list[str]:
    """Write the features of all videos; returns what could not be read."""
    todo = [v for v in dict.fromkeys(videos) if v[0] not in writer]
    if len(todo) < len(videos):
        print(f'{len(videos) - len(todo)} of {len(videos)} videos are there already')
    stream = ClipStream(todo, clips, args.batch)
    loader = DataLoader(stream, batch_size=None, num_workers=args.workers)
    parts: dict[int, list[np.ndarray]] = {}
    failures = []
    bar = tqdm(total=len(todo), desc='features', unit='video')
    for index, batch, error in loader:
        if batch is not None:
            parts.setdefault(index, []).append(encode(model, batch, args.device))
            continue
        rows = parts.pop(index, [])
        if error is None:
            writer.add(todo[index][0], np.concatenate(rows))
        else:
            failures.append(f'{todo[index][0]}: {error}')
        bar.update()
    bar.close()
    return failures


def main() -> None:
    args = parse_args()
    try:
        videos = [v for source in args.videos for v in list_videos(source, args.video_root)]
        if not videos:
            raise ValueError(f'{" ".join(args.videos)}: no videos ({", ".join(VIDEO_SUFFIXES)})')
        model, clips, provenance = load_backbone(args.config, args.checkpoint)
        model.to(args.device)
        size = clips['size'] if isinstance(clips['size'], (tuple, list)) else [clips['size']] * 2
        blank = torch.zeros(1, 3, clips['frames_per_clip'], *size, dtype=torch.uint8)
        dim = encode(model, blank, args.device).shape[1]
        if args.format == 'packed':
            opened = PackedWriter(args.out, dim=dim, provenance=provenance)
        else:
            opened = FolderWriter(args.out, args.format, provenance)
        with opened as writer:
            failures = extract(videos, model, clips, writer, args)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from None
    if failures:
        lines = '\n  '.join(failures)
        raise SystemExit(f'{len(failures)} of {len(videos)} videos were left out:\n  {lines}')


if __name__ == '__main__':
    main()
