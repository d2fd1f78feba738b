"""How fast one machine is: products, the demo's backbone, training, testing, searching.

Writes a row for the precision that 'auto' chooses and one for the other of float32 and bfloat16.
Earlier rows of this processor are replaced; those of others, and all text below the table, stay.
Needs no data.

Examples:
    OMP_WAIT_POLICY=PASSIVE python benchmarks/speed.py
    python benchmarks/speed.py --device cuda
"""

import argparse
from itertools import takewhile
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser
from demul_mm.files import write_atomically

ABOUT = """# Speed by kind of processor

`OMP_WAIT_POLICY=PASSIVE python benchmarks/speed.py` measures the machine that it runs on, and
replaces the rows of that machine. `auto` is what the configs use: bfloat16 where the hardware
multiplies it, float32 elsewhere (`demul_mm/precision.py`). A precision that the hardware has to
imitate is measured on products alone. On CPUs one thread is used and processor time is measured,
which does not depend on other load; `testing` leaves out reading features from the disk.

- product, convolution: of 512 x 512 matrices; 3 x 3, 64 to 64 channels, 56 x 56, 8 pictures
- backbone: a step forward and back of `ClipCNN`, 96 clips of 4 frames of 64 x 64
- training: queries of a step of the default recipe, {batch} videos of {clips} clips, sentences
  known
- sentences: read by the frozen language model for the first time
- testing: queries localised in their video, sentences known
- search: one query in an exact index of 2,000 videos with 40,000 moments

"""


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--out', type=Path, default=Path('docs/speed.md'), metavar='FILE.md')
    parser.add_argument('--quick', action='store_true', help='one repetition of each')
    return parser.parse_args()


def split_page(path: Path) -> tuple[list[str], str]:
    """The lines of a page's first table, which an earlier run wrote, and all text below it."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    begin = next((i for i, line in enumerate(lines) if line.startswith('|')), 0)
    table = list(takewhile(lambda line: line.startswith('|'), lines[begin:]))
    return table, ''.join(lines[begin + len(table) :])


def read_rows(path: Path) -> dict[str, dict[str, float | str]]:
    """The rows of a page that an earlier run wrote."""
    lines, _ = split_page(path)
    cells = [[cell.strip() for cell in line.strip().strip('|').split('|')] for line in lines]
    return {row[0]: {k: v for k, v in zip(cells[0][1:], row[1:]) if v != '-'} for row in cells[2:]}


def main() -> None:
    args = parse_args()
    import speed_measures

    from demul_mm.evaluation.tables import format_markdown

    rows = speed_measures.measure(args)
    own = {name.rsplit(': ', 1)[0] for name in rows}
    kept = {k: v for k, v in read_rows(args.out).items() if k.rsplit(': ', 1)[0] not in own}
    table = format_markdown({**kept, **rows}, decimals=1)
    print(format_markdown(rows, decimals=1))
    _, below = split_page(args.out)
    about = ABOUT.format(**speed_measures.SIZES._asdict())
    write_atomically(args.out, f'{about}{table}\n{below}')


if __name__ == '__main__':
    run_tool(main)
