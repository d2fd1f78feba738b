"""Measures one machine for the table of speeds."""

import argparse
import platform
import tempfile
from functools import partial
from pathlib import Path

import torch
from corpus_data import SyntheticCorpus
from gpu_check.lab import FULL, WORDS, Lab
from measuring import commit
from torch.nn.functional import conv2d

from demul_mm.models.backbones import ClipCNN, TransformersLM
from demul_mm.precision import autocast, choose_precision, multiplies_bfloat16
from demul_mm.registry import INDEXES

SIZES = FULL._replace(videos=24, clips=64, batch=8)


def processor(device: torch.device) -> str:
    """The name of the processor, and its instruction set or capability."""
    if device.type == 'cuda':
        major, minor = torch.cuda.get_device_capability()
        return f'{torch.cuda.get_device_name()}, capability {major}.{minor}'
    name, info = platform.processor() or platform.machine(), Path('/proc/cpuinfo')
    if info.is_file():
        lines = [x for x in info.read_text().splitlines() if x.startswith('model name')]
        name = lines[0].split(':', 1)[1].strip() if lines else name
    return f'{name}, {torch.backends.cpu.get_cpu_capability()}'


def products(lab: Lab, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    """Billions of operations a second of matrix product and convolution."""
    a = torch.randn(512, 512, device=lab.device, dtype=dtype)
    x = torch.randn(8, 64, 56, 56, device=lab.device, dtype=dtype)
    weight = torch.randn(64, 64, 3, 3, device=lab.device, dtype=dtype)
    work = {
        'product, GFLOP/s': (2 * 512**3, lambda: a @ a),
        'convolution, GFLOP/s': (2 * 8 * 56**2 * 64**2 * 9, lambda: conv2d(x, weight, padding=1)),
    }
    return {
        name: operations / lab.seconds(action, repeats) / 1e9
        for name, (operations, action) in work.items()
    }


def model_speeds(lab: Lab, precision: str, repeats: int) -> dict[str, float]:
    """Speeds of the backbone, training, the language model and testing."""
    backbone = ClipCNN().to(lab.device)
    clips = torch.randint(0, 256, (96, 3, 4, 64, 64), dtype=torch.uint8, device=lab.device)

    def backbone_step() -> None:
        with autocast(precision, lab.device):
            cells = backbone.embed(clips)
        cells.square().mean().backward()

    model, batch = lab.model(), lab.batch(lab.sizes.batch)
    queries = sum(len(sample.queries) for sample in batch['data_samples'])
    step = partial(model.train_step, batch, lab.optim(model, precision))
    lm = TransformersLM(cache_mb=0, dtype=precision)
    sentences = [f'The {who} {does} the {what}.' for who, does, what in zip(*WORDS)]
    tokens = model.data_preprocessor.tokenize(sentences)

    def test() -> None:
        with autocast(precision, lab.device):
            model.test_step(batch)

    training = lab.seconds(step, repeats)
    model.eval()
    return {
        'backbone, ms a step': 1e3 * lab.seconds(backbone_step, repeats),
        'training, queries/s': queries / training,
        'sentences/s': len(sentences) / lab.seconds(lambda: lm(*tokens), repeats),
        'testing, queries/s': queries / lab.seconds(test, repeats),
    }


def search_ms(lab: Lab, folder: Path, repeats: int) -> float:
    """Milliseconds of a query in an exact index, which is searched on the CPU."""
    corpus = SyntheticCorpus(2000, seed=0, dim=128)
    index = INDEXES.build(dict(type='ExactIndex', path=folder))
    index.build(corpus)
    vectors = corpus.truth(8).vectors

    def search() -> None:
        for vector in vectors:
            index.search(vector[None])

    return 1e3 * lab.seconds(search, repeats) / len(vectors)


def measure(args: argparse.Namespace) -> dict[str, dict[str, float | str]]:
    """The rows of this machine, by processor and precision."""
    torch.set_num_threads(1)
    device, repeats = torch.device(args.device), 1 if args.quick else 5
    rows: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory(prefix='speed_') as folder:
        lab = Lab(Path(folder), args.device, SIZES)
        search = search_ms(lab, Path(folder) / 'index', repeats)
        chosen = choose_precision('auto', device)
        other = torch.float32 if chosen == torch.bfloat16 else torch.bfloat16
        for dtype in (chosen, other):
            precision = str(dtype).removeprefix('torch.')
            imitated = dtype == torch.bfloat16 and not multiplies_bfloat16(device)
            note = ' (auto)' if dtype == chosen else ' (imitated)' if imitated else ''
            row: dict[str, float | str] = dict(products(lab, dtype, 1 if imitated else repeats))
            if not imitated:
                row.update(model_speeds(lab, precision, repeats))
                row['search, ms'] = search
            row['commit'] = commit()
            rows[f'{processor(device)}: {precision}{note}'] = row
    return rows
