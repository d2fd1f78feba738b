"""Find moments in videos from sentences.

Examples:
    python tools/localize.py configs/demul_demo.py best.pth clip.mp4 --extractor backbone.pth \\
        --query "a red disc leaves" "the square spins" --out-dir work_dirs/pictures
    python tools/localize.py configs/demul_charades.py best.pth 3MSZA --duration 30.96 \\
        --query "a person opens a door" --threshold 0.3
    python tools/localize.py configs/demul_charades.py best.pth features/*.npy --query "..." \\
        --duration 30.96 28.5 --json moments.json
"""

import argparse
import json

from demul_mm.cli import run_tool, tool_parser
from demul_mm.files import write_atomically


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        'videos', nargs='+', help="video files, feature files, or ids of the config's feature store"
    )
    parser.add_argument('--query', nargs='+', required=True, help='sentences')
    parser.add_argument(
        '--duration',
        nargs='+',
        type=float,
        help='seconds of each video, for features whose rows have no fixed length',
    )
    parser.add_argument(
        '--extractor',
        metavar='FILE',
        help='backbone that made the features, to read video files: of tools/pretrain_backbone.py, '
        'or a config of it',
    )
    parser.add_argument('--top', type=int, default=5, help='moments (default: %(default)s)')
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.0,
        help='leave out moments that are less probable than this (default: %(default)s)',
    )
    parser.add_argument(
        '--no-match-threshold',
        type=float,
        default=0.05,
        metavar='SHARE',
        help='answer "no such moment" where the query is less like the video than this share of '
        'held-out queries were like theirs; 0: never (default: %(default)s)',
    )
    parser.add_argument('--out-dir', help='write a picture of each video here')
    parser.add_argument('--json', metavar='FILE', help='write the answers as JSON')
    parser.add_argument('--cache-dir', help='keep encodings here for the next time')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    return parser.parse_args()


def show(result: dict) -> None:
    print(f'{result["video_id"]}: {result["query"]}')
    if result['error']:
        print(f'  not read: {result["error"]}')
    elif result['no_moment']:
        print(f'  no such moment (match {result["match"]:.2f})')
    for (start, end), probability in zip(result['spans'], result['probabilities']):
        print(f'  {start:8.2f} s  {end:8.2f} s  probability {probability:.3f}')


def main() -> int:
    args = parse_args()
    from demul_mm.apis import FeatureExtractor, MomentInferencer

    extractor = FeatureExtractor(args.extractor, device=args.device) if args.extractor else None
    find = MomentInferencer(
        args.config,
        args.checkpoint,
        device=args.device,
        extractor=extractor,
        cache_dir=args.cache_dir,
    )
    results = find(
        args.videos,
        args.query,
        durations=args.duration,
        num_moments=args.top,
        no_moment_threshold=args.threshold,
        no_match_threshold=args.no_match_threshold,
        explain=bool(args.json or args.out_dir),
        out_dir=args.out_dir,
    )
    for result in results:
        show(result)
    if args.json:
        write_atomically(args.json, json.dumps(results, ensure_ascii=False))
    if args.out_dir:
        print(f'pictures are in {args.out_dir}')
    return 1 if any(result['error'] for result in results) else 0


if __name__ == '__main__':
    run_tool(main)
