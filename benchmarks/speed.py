"""How fast one machine is: products, the demo's backbone, training, testing, searching.

A row for the precision that 'auto' chooses, and one for the other of float32 and bfloat16. Rows of
other processors stay in the file, those of this one are replaced. Takes no data.

Examples:
    OMP_WAIT_POLICY=PASSIVE python benchmarks/speed.py
    python benchmarks/speed.py --device cuda
"""

import argparse
import platform
import tempfile
from functools import partial
from pathlib import Path

import torch
from corpus_data import SyntheticCorpus
from gpu_check.lab import FULL, WORDS, Lab, commit
from torch.nn.functional import conv2d

from demul_mm.evaluation.tables import format_markdown
from demul_mm.files import write_atomically
from demul_mm.models.backbones import ClipCNN, TransformersLM
from demul_mm.precision import autocast, choose_precision, multiplies_bfloat16
from demul_mm.registry import INDEXES

SIZES = FULL._replace(videos=24, clips=64, batch=8)
ABOUT = """# Speed by kind of processor

`OMP_WAIT_POLICY=PASSIVE python benchmarks/speed.py` measures the machine that it runs on, and puts
its rows in the place of those that it had. `auto` is what the configs say: bfloat16 where the
hardware multiplies it, float32 elsewhere (`demul_mm/precision.py`). A precision that the hardware
has to imitate is measured on products alone. On CPUs one thread works and the processor's seconds
count, so that what else runs does not; `testing` leaves out reading features from the disk.

- product, convolution: of 512 x 512 matrices; 3 x 3, 64 to 64 channels, 56 x 56, 8 pictures
- backbone: a step forward and back of `ClipCNN`, 96 clips of 4 frames of 64 x 64
- training: queries of a step of the default recipe, {batch} videos of {clips} clips, sentences
  known
- sentences: read by the frozen language model for the first time
- testing: queries localised in their video, sentences known
- search: one query in an exact index of 2,000 videos with 40,000 moments

"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--out', type=Path, default=Path('docs/speed.md'), metavar='FILE.md')
    parser.add_argument('--quick', action='store_true', help='one repetition of each')
    return parser.parse_args()


def processor(device: torch.device) -> str:
    """The name of the processor, and what it is capable of."""
    if device.type == 'cuda':
        major, minor = torch.cuda.get_device_capability()
        return f'{torch.cuda.get_device_name()}, capability {major}.{minor}'
    name, info = platform.processor() or platform.machine(), Path('/proc/cpuinfo')
    if info.is_file():
        lines = [x for x in info.read_text().splitlines() if x.startswith('model name')]
        name = lines[0].split(':', 1)[1].strip() if lines else name
    return f'{name}, {torch.backends.cpu.get_cpu_capability()}'


def products(lab: Lab, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    """Billions of operations a second."""
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
    """Of the backbone, training, the language model and testing."""
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
    """One query in an exact index, which is searched on the CPU."""
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


def read_rows(path: Path) -> dict[str, dict[str, float | str]]:
    """The rows of a page that an earlier run wrote."""
    if not path.is_file():
        return {}
    lines = [line for line in path.read_text().splitlines() if line.startswith('|')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return {row[0]: {k: v for k, v in zip(cells[0][1:], row[1:]) if v != '-'} for row in cells[2:]}


def main() -> None:
    args = parse_args()
    rows = measure(args)
    own = {name.rsplit(': ', 1)[0] for name in rows}
    kept = {k: v for k, v in read_rows(args.out).items() if k.rsplit(': ', 1)[0] not in own}
    table = format_markdown({**kept, **rows}, decimals=1)
    print(format_markdown(rows, decimals=1))
    write_atomically(args.out, ABOUT.format(**SIZES._asdict()) + table + '\n')


if __name__ == '__main__':
    main()
