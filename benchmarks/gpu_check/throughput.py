"""How fast computations on a GPU are, and how much memory they take."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from lab import Lab, long_video
from sections import Rows, Skipped, bound, exact_products, section
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from demul_mm.models.backbones import FrameEncoder
from demul_mm.precision import autocast, choose_precision


@section
def hour(lab: Lab, rows: Rows) -> None:
    """An hour of video with many queries, in memory that hardly grows with the length."""
    model = lab.model(width=lab.sizes.width).eval()
    for clips in (lab.sizes.hour // 6, lab.sizes.hour):
        batch = long_video(clips, lab.sizes.queries, lab.dim)
        predict = partial(model.test_step, batch)
        seconds = lab.seconds(predict)
        (sample,) = model.test_step(batch)
        assert all(len(moments.scores) for moments in sample.pred_moments)
        rows[f'{clips} clips'] = {'seconds': seconds, 'peak MiB': lab.peak_mib(predict)}
        torch.cuda.empty_cache()
    if lab.on_gpu:
        assert rows[f'{lab.sizes.hour} clips']['peak MiB'] < 4096, 'an hour takes more than 4 GiB'


@section
def batches(lab: Lab, rows: Rows) -> None:
    """Training at batches of several sizes, and at several widths."""
    narrow = lab.sizes.width
    cases = [(size, narrow) for size in lab.sizes.batches] + [(64, w) for w in lab.sizes.widths]
    for size, width in dict.fromkeys(cases):
        model, batch = lab.model(width=width), lab.batch(size)
        optim = lab.optim(model, 'auto')
        queries = sum(len(sample.queries) for sample in batch['data_samples'])
        step = partial(model.train_step, batch, optim)
        seconds = lab.seconds(step, repeats=15 if lab.on_gpu else 1, warm=5 if lab.on_gpu else 1)
        rows[f'{size} videos, width {width}'] = {
            'queries/s': queries / seconds,
            'ms a step': 1e3 * seconds,
            'peak MiB': lab.peak_mib(step),
            'GPU busy %': lab.busy(step),
        }


@section
def extraction(lab: Lab, rows: Rows) -> None:
    """Features by a video transformer (ViT-B, 16 frames), weights at random."""
    side, full = lab.sizes.frames, lab.on_gpu
    size = dict(embed_dims=768, depth=12, num_heads=12)
    small = dict(embed_dims=32, depth=1, num_heads=2)
    backbone = dict(type='mmaction.VisionTransformer', img_size=side, **(size if full else small))
    encoder = FrameEncoder(backbone, chunk_size=16).to(lab.device).eval()
    clips = torch.randint(0, 256, (64 if full else 2, 3, 16, side, side), dtype=torch.uint8)
    clips = clips.to(lab.device)

    @torch.inference_mode()
    def encode(precision: str) -> Tensor:
        with autocast(precision, lab.device):
            return encoder([clips])[0].float()

    for precision in ('auto', 'float32'):
        seconds = lab.seconds(partial(encode, precision), repeats=3 if full else 1)
        chosen = str(choose_precision(precision, lab.device)).removeprefix('torch.')
        rows[f'{precision}: {chosen}'] = {'clips/s': len(clips) / seconds}
    near = cosine_similarity(encode('auto'), encode('float32')).min()
    bound(rows, 'features, 1 - cosine', 1 - float(near), 1e-2)


@section
@exact_products()
def index(lab: Lab, rows: Rows) -> None:
    """A scan of all vectors, and FAISS, on the device against the CPU."""
    rng = torch.Generator().manual_seed(0)
    vectors = normalize(torch.randn(lab.sizes.vectors, 128, generator=rng), dim=1)
    queries = normalize(vectors[:64] + 0.1 * torch.randn(64, 128, generator=rng), dim=1)

    def compare(name: str, least: float, find: Callable[[str], Callable[[], Tensor]]) -> None:
        ways = {kind: find(kind) for kind in ('cpu', lab.device.type)}
        ours, theirs = (ways[kind]().cpu().numpy() for kind in ('cpu', lab.device.type))
        shares = [len(np.intersect1d(a, b)) / len(np.unique(a)) for a, b in zip(ours, theirs)]
        times = {f'{kind}, ms': 1e3 * lab.seconds(way, repeats=3) for kind, way in ways.items()}
        shared = float(np.mean(shares))
        rows[name] = {**times, 'same of the best 100': f'{shared:.4f}'}
        assert shared >= least, f'{name}: only {shared:.4f} of the best 100 are the same'

    def scan(device: str) -> Callable[[], Tensor]:
        table, asked = vectors.to(device), queries.to(device)
        return lambda: (asked @ table.T).topk(100).indices

    compare(f'scan of {len(vectors):,} vectors, 64 queries', 0.999, scan)
    try:
        import faiss
    except ImportError:
        raise Skipped('after the scan: faiss is not installed') from None
    if lab.on_gpu and not hasattr(faiss, 'StandardGpuResources'):
        raise Skipped('after the scan: this faiss has no GPU part, faiss-gpu has')
    # Lists of bytes are rounded in another way on a GPU.
    for kind, least in (('Flat', 0.999), (f'IVF{len(vectors) // 1000},SQ8', 0.97)):
        built = faiss.index_factory(128, kind, faiss.METRIC_INNER_PRODUCT)
        built.train(vectors[:50_000].numpy())
        built.add(vectors.numpy())
        if kind != 'Flat':
            built.nprobe = 32

        def search(device: str, built: faiss.Index = built) -> Callable[[], Tensor]:
            there = built
            if device == 'cuda':
                there = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, built)
            return lambda: torch.from_numpy(there.search(queries.numpy(), 100)[1])

        compare(f'FAISS {kind}, 64 queries', least, search)


@section
def compiling(lab: Lab, rows: Rows) -> None:
    """Whether ``torch.compile`` of the towers and the pyramid makes training faster."""
    if not lab.on_gpu:
        raise Skipped('needs a GPU')
    model, batch = lab.model(), lab.batch(64)
    step = partial(model.train_step, batch, lab.optim(model, 'auto'))
    eager = lab.seconds(step, repeats=15, warm=5)
    for tower in (*model.towers.values(), model.pyramid):
        tower.compile(dynamic=False)
    first = lab.seconds(step, warm=0)
    compiled = lab.seconds(step, repeats=15, warm=5)
    rows['eager'] = {'ms a step': 1e3 * eager}
    rows['compiled'] = {'ms a step': 1e3 * compiled, 'first step, s': first}
    rows['pays'] = {'ms a step': 'yes' if compiled < 0.9 * eager else 'no'}
