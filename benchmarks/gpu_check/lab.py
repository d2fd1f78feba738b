"""Made-up videos, and models, batches and timing on a device, for the check of GPUs."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from demul_mm.datasets.samplers import SeededIndex
from demul_mm.engine.optim import AutocastOptimWrapper, MuonAdamW
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import MODELS
from demul_mm.structures import MomentDataSample

ROOT = Path(__file__).parents[2]
WORDS = (
    ['man', 'woman', 'child', 'dog', 'crowd', 'player'],
    ['opens', 'closes', 'lifts', 'drops', 'paints', 'washes', 'throws', 'catches', 'cuts', 'folds'],
    ['door', 'box', 'ball', 'cup', 'window', 'book', 'shirt', 'rope', 'apple', 'wheel'],
)
CONFIG = """
_base_ = [
    '{root}/configs/_base_/models/demul_short.py',
    '{root}/configs/_base_/schedules/muon_20e.py',
    '{root}/configs/_base_/default_runtime.py']
dataset = dict(
    type='JsonlMomentDataset', name='made_up', data_root='{folder}/',
    features=dict(visual=dict(type='FolderStore', path='features', dim={dim})))
load = dict(type='LoadVideoFeature')
augment = [
    dict(type='SpliceMoment', prob=0.3, mode='replace'),
    dict(type='TemporalCrop', prob=0.3),
    dict(type='SpeedChange', prob=0.3),
    dict(type='ClipDrop', prob=0.3),
    dict(type='WordDrop', prob=0.3)] if {whole} else []
resample = dict(type='ResampleClips', num_clips={clips})
some = dict(type='SampleQueries', max_queries=4)
pack = dict(type='PackMomentInputs')
train_dataloader = dict(
    batch_size={batch}, num_workers={workers},
    sampler=dict(type='SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(dataset, ann_file='train.jsonl', split='train',
                 pipeline=[load, *augment, resample, some, pack]))
val_dataloader = dict(
    batch_size={batch}, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(dataset, ann_file='val.jsonl', split='val',
                 pipeline=[load, resample, pack], test_mode=True))
val_evaluator = dict(type='MomentRecall')
train_cfg = dict(max_epochs={epochs})
test_cfg = None
log_level = 'ERROR'
model = dict(streams=dict(visual=dict(in_dim={dim})))
del dataset, load, augment, resample, some, pack
"""
# The parts of the method that the default recipe leaves out.
WHOLE = dict(
    decoupler=dict(private_dim=64),
    neck=dict(stages=('sentence', 'phrases', 'words'), cells_talk=False),
    head=dict(joint=dict(terms=('semantic', 'quality', 'boundary', 'coherence', 'video'))),
    memory=dict(type='SemanticMemory'),
    criterion=dict(weights=dict(quality=1.0, decorrelation=0.1, confusion=0.01, distillation=0.2)),
    train_cfg=dict(num_negatives=0.25),
)
METHODS = {'default recipe': {}, 'whole method': WHOLE}
WIDTH = 128  # of the recipe


class Sizes(NamedTuple):
    """The sizes of what is measured."""

    videos: int
    clips: int
    width: int
    steps: int  # of each training
    batch: int  # videos
    batches: tuple[int, ...]  # videos, at the recipe's width
    widths: tuple[int, ...]
    hour: int  # clips of the long video
    queries: int  # about the long video
    frames: int  # side of the frames of the transformer backbone
    vectors: int  # of the corpus that is searched


FULL = Sizes(
    256, 128, WIDTH, 40, 16, (16, 32, 64, 128, 256), (128, 256, 512), 3600, 100, 224, 10**6
)
QUICK = Sizes(8, 32, 32, 2, 4, (4,), (), 256, 4, 32, 2000)


def make_videos(folder: Path, count: int, rows: int, dim: int, seed: int = 0) -> None:
    """Write videos whose features encode their sentences' words in noise; a fourth is ``val``."""
    rng = np.random.default_rng(seed)
    code = {word: rng.standard_normal(dim) for words in WORDS for word in words}
    (folder / 'features').mkdir(parents=True)
    lines: dict[str, list[str]] = {'train': [], 'val': []}
    for v in range(count):
        length = int(rng.integers(rows // 2, rows + 1))
        x = rng.standard_normal((length, dim))
        queries = []
        for q in range(5):
            said = [str(rng.choice(words)) for words in WORDS]
            number = int(rng.integers(2, max(3, length // 3)))
            start = int(rng.integers(0, length - number + 1))
            x[start : start + number] += 0.8 * sum(code[word] for word in said)
            text = f'The {said[0]} {said[1]} the {said[2]}.'
            span = [float(start), float(start + number)]
            queries.append(dict(query_id=f'{v}#{q}', query=text, spans=[span]))
        np.save(folder / 'features' / f'v{v}.npy', x.astype(np.float32))
        row = dict(video_id=f'v{v}', duration=float(length), queries=queries)
        lines['val' if v % 4 == 3 else 'train'].append(json.dumps(row))
    for split, rows_of in lines.items():
        (folder / f'{split}.jsonl').write_text('\n'.join(rows_of) + '\n')


def widen(node: Any, width: int) -> None:
    """Replace the recipe's width everywhere in a model's config."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ('dim', 'shared_dim') and value == WIDTH:
                node[key] = width  # type: ignore[index]
            widen(value, width)
    elif isinstance(node, (list, tuple)):
        for value in node:
            widen(value, width)


class Lab:
    """Configs, models and batches of made-up videos.

    Args:
        folder: an empty one.
        device: that is checked.
        sizes: of what is measured.
    """

    dim = 256  # of the features

    def __init__(self, folder: Path, device: str, sizes: Sizes) -> None:
        self.folder, self.sizes = folder, sizes
        self.device = torch.device(device)
        self.on_gpu = self.device.type == 'cuda'
        # On a CPU other load must not count.
        self.clock = time.perf_counter if self.on_gpu else time.process_time
        make_videos(folder / 'data', sizes.videos, sizes.clips, self.dim)
        self._datasets: dict[str, Any] = {}
        init_default_scope('demul_mm')

    def config(self, method: str, width: int | None = None, epochs: int = 1) -> Config:
        """The config of a method, with the made-up videos as its data."""
        name = method.split()[0]
        path = self.folder / f'{name}_{epochs}.py'
        workers = 2 if self.on_gpu else 0
        fields = dict(root=ROOT, folder=self.folder / 'data', dim=self.dim, clips=self.sizes.clips)
        fields.update(whole=name == 'whole', batch=self.sizes.batch, workers=workers, epochs=epochs)
        path.write_text(CONFIG.format(**fields))
        config = Config.fromfile(path)
        config.merge_from_dict(dict(model=METHODS[method]))
        widen(config.model, width or self.sizes.width)
        config.work_dir = str(self.folder / 'work')
        config.experiment_name = f'{name}_{time.time_ns()}'
        return config

    def model(
        self, method: str = 'default recipe', width: int | None = None, device: str | None = None
    ) -> DeMUL:
        """A fresh model with the same weights each time, in training mode but without dropout."""
        torch.manual_seed(0)
        model = MODELS.build(self.config(method, width).model).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model.to(device or self.device)

    def batch(self, size: int, method: str = 'default recipe', number: int = 0) -> dict:
        """Batch ``number`` of ``size`` training videos, the same each time."""
        if method not in self._datasets:
            loader = dict(self.config(method).train_dataloader, num_workers=0)
            self._datasets[method] = Runner.build_dataloader(loader, seed=0).dataset
        videos = self._datasets[method]
        places = [(number * size + i) % len(videos) for i in range(size)]
        return pseudo_collate([videos[SeededIndex(i, (0, number))] for i in places])

    def optim(self, model: DeMUL, precision: str, lr: float = 2e-3) -> AutocastOptimWrapper:
        """The recipe's optimizer."""
        optimizer = MuonAdamW(model.parameters(), lr=lr)
        return AutocastOptimWrapper(optimizer, dtype=precision, clip_grad=dict(max_norm=1.0))

    def wait(self) -> None:
        """Wait until the device has finished."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, action: Callable[[], Any], repeats: int = 1, warm: int = 1) -> float:
        """Mean seconds of a call; on a CPU processor time."""
        for _ in range(warm):
            action()
        self.wait()
        start = self.clock()
        for _ in range(repeats):
            action()
        self.wait()
        return (self.clock() - start) / repeats

    def peak_mib(self, action: Callable[[], Any]) -> float:
        """The most memory of the GPU that a call takes, in MiB; NaN on a CPU."""
        if not self.on_gpu:
            action()
            return float('nan')
        torch.cuda.reset_peak_memory_stats()
        action()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**20

    def busy(self, action: Callable[[], Any]) -> float:
        """The share of a call in which the GPU runs a kernel, in percent; NaN on a CPU."""
        if not self.on_gpu:
            return float('nan')
        seconds = self.seconds(action)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            action()
            torch.cuda.synchronize()
        events = profile.events() or []
        kernels = sum(e.time_range.elapsed_us() for e in events if 'CUDA' in str(e.device_type))
        return 100 * kernels / 1e6 / seconds


def long_video(clips: int, queries: int, dim: int) -> dict:
    """A batch of one video of a clip a second."""
    sample = MomentDataSample(metainfo=dict(video_id='long', duration=float(clips)))
    nouns = WORDS[2]
    sample.queries = [f'The man opens {nouns[i % len(nouns)]} {i}.' for i in range(queries)]
    visual = torch.randn(clips, dim, generator=torch.Generator().manual_seed(0))
    return dict(inputs=dict(visual=[visual]), data_samples=[sample])


def losses_and_gradient(
    model: DeMUL, batch: dict, context: Callable[[], Any]
) -> tuple[dict[str, float], Tensor]:
    """The losses of a batch, and all gradients in one vector on the CPU."""
    model.zero_grad(set_to_none=True)
    data = model.data_preprocessor(batch, True)
    with context():
        losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    gradients = [p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None]
    return {name: float(loss.detach()) for name, loss in losses.items()}, torch.cat(gradients)
