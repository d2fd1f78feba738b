"""Train the small video backbone ClipCNN on the sentences of a training split, without labels.

Clips and sentences are contrasted: within a video, clips inside a sentence's span against those
outside; across videos, sentences against each other. The features are then how well anything in a
clip fits each of a few hundred prototypes, which are put where the training sentences lie.

The checkpoint describes its backbone and clips: tools/extract_features.py needs nothing else. Run
again to go on with what was interrupted.

Examples:
    python tools/pretrain_backbone.py data/rendered/train.jsonl --out work_dirs/backbone.pth
    python tools/pretrain_backbone.py data/rendered/train.jsonl --out work_dirs/backbone.pth \\
        --val data/rendered/val.jsonl --steps 2000
"""

import argparse
import os
import shutil
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('annotations', type=Path, help='JSONL of the training split')
    parser.add_argument('--out', type=Path, required=True, help='checkpoint to write')
    parser.add_argument('--val', type=Path, help='JSONL to report the quality of features on')
    parser.add_argument('--video-root', type=Path, help="where a JSONL's files are (its folder)")
    parser.add_argument('--cache', type=Path, help='folder of decoded frames (default: temporary)')
    parser.add_argument('--steps', type=int, default=500, help='training steps (default: 500)')
    parser.add_argument('--videos', type=int, default=6, help='videos a step (default: 6)')
    parser.add_argument('--clips', type=int, default=16, help='clips of each video (default: 16)')
    parser.add_argument('--lr', type=float, default=1e-2, help='peak rate (default: 1e-2)')
    parser.add_argument('--dim', type=int, default=256, help='width of features (default: 256)')
    parser.add_argument(
        '--widths', type=int, nargs=3, default=[48, 64, 96], help='of its convolutions'
    )
    parser.add_argument('--clip-seconds', type=float, default=0.5, help='clip rate (default: 0.5)')
    parser.add_argument('--window-seconds', type=float, default=1.0, help='clip length')
    parser.add_argument('--frames', type=int, default=4, help='frames of a clip (default: 4)')
    parser.add_argument('--size', type=int, default=64, help='height and width (default: 64)')
    parser.add_argument('--workers', type=int, default=2, help='decoding processes (default: 2)')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # threads that wait must not spin
    from demul_mm.pretraining import Schedule, SentenceSplit, Vocabulary, pretrain, probe

    clips = dict(
        clip_seconds=args.clip_seconds,
        window_seconds=args.window_seconds,
        frames_per_clip=args.frames,
        size=args.size,
    )
    cache = args.cache or args.out.with_suffix('.frames')

    def read(path: Path, part: str) -> SentenceSplit:
        folder = cache / part / path.stem
        return SentenceSplit(path, clips, folder, video_root=args.video_root, workers=args.workers)

    split = read(args.annotations, 'train')
    vocabulary = Vocabulary([s for sentences in split.sentences for s in sentences])
    schedule = Schedule(args.steps, args.videos, args.clips, args.lr, args.seed)
    model, matcher = pretrain(
        split, vocabulary, schedule, args.out, dim=args.dim, widths=args.widths
    )
    print(f'wrote {args.out}: {len(vocabulary)} words, {args.dim} prototypes')
    if args.val:
        val = read(args.val, 'val')
        ranks = probe.rank_clips(model, matcher, vocabulary, val)
        words = probe.read_words(model, vocabulary, split, val)
        print(
            f'{ranks.count} sentences of {len(val)} validation videos, average precision over the '
            f'clips of their video: {ranks.precision:.3f} (chance {ranks.chance:.3f})\n'
            f'{words.count} words read from the features of single clips by a linear probe, '
            f'average precision: {words.precision:.3f} (chance {words.chance:.3f})'
        )
    if not args.cache:
        shutil.rmtree(cache)


if __name__ == '__main__':
    run_tool(main)
