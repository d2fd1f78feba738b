"""Make what configs/demul_charades_clip_cv.py reads of the CLIP features of Vid-Morp.

The source is the folder data/charades/feat of https://github.com/baopj/Vid-Morp: a file
`<video>.npy` for each test video of Charades-STA, with rows spread evenly over it, 256 of 768
values. Each run of rows is averaged, so that 64 are left. The videos are those that the
figures in docs/benchmarks.md are of (cv_videos.sha1), or, with --all, every one of the official
lines; those without features are left out and counted. Into DATA go

    features/clip_l14.hdf5              a data set (64, 768) for each video, float16
    annotations/charades_sta_cv.txt     the official lines of these videos

Examples:
    git clone --depth 1 https://github.com/baopj/Vid-Morp
    python tools/data/charades/prepare_cv.py Vid-Morp/data/charades/feat
    python tools/data/charades/prepare_cv.py feat/ --data /mnt/charades --all
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from demul_mm.cli import run_tool, tool_parser

ROWS = 64
VIDEOS = Path(__file__).with_name('cv_videos.sha1')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('features', help='folder with <video>.npy')
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('data/charades'),
        help='where annotations/charades_sta_test.txt is (default: data/charades)',
    )
    parser.add_argument(
        '--videos',
        default=VIDEOS,
        help='first 8 digits of the SHA-1 of each id, a line each (default: cv_videos.sha1)',
    )
    parser.add_argument('--all', action='store_true', help='all test videos')
    return parser.parse_args()


def averaged(rows: np.ndarray, video: str) -> np.ndarray:
    """Rows ``(n * ROWS, d)`` to ``(ROWS, d)`` float16, by means of n."""
    if rows.ndim != 2 or not len(rows) or len(rows) % ROWS:
        raise ValueError(f'video {video!r}: {rows.shape}, expected rows in a multiple of {ROWS}')
    return rows.astype(np.float32).reshape(ROWS, -1, rows.shape[1]).mean(1).astype(np.float16)


def main() -> int:
    args = parse_args()
    import h5py

    from demul_mm.datasets import FolderStore
    from demul_mm.datasets.reading import read_lines
    from demul_mm.files import read_list, replacing, write_atomically

    store = FolderStore(args.features)
    official = args.data / 'annotations' / 'charades_sta_test.txt'
    lines = [line for _, line in read_lines(str(official))]
    video_of = [line.partition(' ')[0] for line in lines]
    listed = set(read_list(args.videos))
    videos = [
        video
        for video in sorted(set(video_of))
        if args.all or hashlib.sha1(video.encode()).hexdigest()[:8] in listed
    ]
    there = [video for video in videos if video in store]
    if not there:
        raise ValueError(f'{args.features}: none of {len(videos)} test videos has features there')
    with replacing(args.data / 'features' / 'clip_l14.hdf5') as path, h5py.File(path, 'w') as file:
        for video in there:
            file[video] = averaged(store.read(video), video)
    chosen = set(there)
    kept = [line for line, video in zip(lines, video_of) if video in chosen]
    write_atomically(args.data / 'annotations' / 'charades_sta_cv.txt', '\n'.join([*kept, '']))
    print(f'{len(there):,} videos, {len(kept):,} queries; {len(videos) - len(there):,} left out')
    return 0


if __name__ == '__main__':
    run_tool(main)
