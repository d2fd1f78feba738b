"""Render the corpus that the demo and the tests train on.

Coloured shapes enter, leave, move, spin, grow, blink and touch in short mp4 films; each sentence
describes one moment. Everything follows from the seed. Run it again to finish an interrupted corpus
or to add films; options that are not given are then those of the corpus in the folder.

Examples:
    python tools/data/rendered/make_corpus.py data/rendered
    python tools/data/rendered/make_corpus.py data/rendered --train 800 --val 80 --test 120
    python tools/data/rendered/make_corpus.py data/rendered --preview preview.png
"""

import argparse
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser

CONTENT = ('train', 'val', 'test', 'seed', 'min_seconds', 'max_seconds')
NEW = dict(test=120)  # of a new corpus; the other defaults are those of CorpusConfig


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('out_dir', type=Path, help='folder to write')
    parser.add_argument('--train', type=int, help='training videos (default: 800)')
    parser.add_argument('--val', type=int, help='validation videos (default: 80)')
    parser.add_argument('--test', type=int, help='test videos (default: 120)')
    parser.add_argument('--seed', type=int, help='seed (default: 0)')
    parser.add_argument('--min-seconds', type=float, help='shortest (default: 20)')
    parser.add_argument('--max-seconds', type=float, help='longest (default: 90)')
    parser.add_argument('--workers', type=int, default=2, help='processes (default: 2)')
    parser.add_argument('--no-videos', action='store_true', help='write the annotations only')
    parser.add_argument('--preview', type=Path, help='also draw a contact sheet to this picture')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from demul_mm.rendered import arguments_of, contact_sheet, render_corpus

    given = {name: value for name in CONTENT if (value := getattr(args, name)) is not None}
    render_corpus(
        args.out_dir,
        **{**(arguments_of(args.out_dir) or NEW), **given},
        workers=args.workers,
        videos=not args.no_videos,
        progress=True,
    )
    content = arguments_of(args.out_dir)
    if args.preview:
        shown = next(split for split in ('val', 'test', 'train') if content[split])
        contact_sheet(args.out_dir, args.preview, split=shown)
    counts = ', '.join(f'{content[split]} {split}' for split in ('train', 'val', 'test'))
    print(f'{args.out_dir} holds {counts} films; --train, --val and --test say how many')


if __name__ == '__main__':
    run_tool(main)
