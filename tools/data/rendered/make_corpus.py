"""Render the corpus that the demo and the tests train on.

Coloured shapes enter, leave, move, spin, grow, blink and meet in short mp4 films; sentences name
single moments of them. Everything follows from the seed. Run again to finish what was interrupted,
or with more films.

Examples:
    python tools/data/rendered/make_corpus.py data/rendered
    python tools/data/rendered/make_corpus.py data/rendered --train 800 --val 80 --test 120
    python tools/data/rendered/make_corpus.py data/rendered --preview preview.png
"""

import argparse
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('out_dir', type=Path, help='folder to write')
    parser.add_argument('--train', type=int, default=800, help='training videos (default: 800)')
    parser.add_argument('--val', type=int, default=80, help='validation videos (default: 80)')
    parser.add_argument('--test', type=int, default=120, help='test videos (default: 120)')
    parser.add_argument('--seed', type=int, default=0, help='seed (default: 0)')
    parser.add_argument('--min-seconds', type=float, default=20, help='shortest (default: 20)')
    parser.add_argument('--max-seconds', type=float, default=90, help='longest (default: 90)')
    parser.add_argument('--workers', type=int, default=2, help='processes (default: 2)')
    parser.add_argument('--no-videos', action='store_true', help='write the annotations only')
    parser.add_argument('--preview', type=Path, help='also draw a contact sheet to this picture')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from demul_mm.rendered import contact_sheet, render_corpus

    render_corpus(
        args.out_dir,
        train=args.train,
        val=args.val,
        test=args.test,
        seed=args.seed,
        min_seconds=args.min_seconds,
        max_seconds=args.max_seconds,
        workers=args.workers,
        videos=not args.no_videos,
        progress=True,
    )
    if args.preview:
        shown = next(split for split in ('val', 'test', 'train') if getattr(args, split))
        contact_sheet(args.out_dir, args.preview, split=shown)
    print(f'wrote {args.out_dir}')


if __name__ == '__main__':
    run_tool(main)
