"""Turn videos into clip features with any registered backbone.

The videos are those of a JSONL annotation, all in a folder and its sub-folders, the lines of a
text file, or video files; where a folder holds none, the folders of numbered frames in it (with
`frame_rate` in `clips`). The id of a file in a sub-folder has the name of that, as `cat/000`. The
backbone is the one a checkpoint of tools/pretrain_backbone.py describes, or that of a config::

    backbone = dict(type='FrameEncoder', backbone=dict(type='mmaction.ResNet3dSlowOnly', ...))
    clips = dict(clip_seconds=1.0, frames_per_clip=8, size=224)

where `clips` has the arguments of LoadVideoClips. Run again to finish what was interrupted. A video
that cannot be read is left out and listed at the end; the exit code is then 1.

On several machines, or for several GPUs, that see the same paths: with `--launcher` each process of
torchrun or srun takes its share of the videos, and writes a file for each of them
(tools/data/pack_features.py makes one file of them all). With `--ray` the workers of a Ray cluster
take a video at a time and send its features back to this process, which alone writes; a worker
that is lost costs what it was at.

Examples:
    python tools/extract_features.py data/rendered/train.jsonl data/rendered/features \\
        --checkpoint work_dirs/backbone.pth
    python tools/extract_features.py my_videos/ features/slowonly --config slowonly.py \\
        --checkpoint slowonly.pth --format npy --device cuda
    torchrun --nproc_per_node 8 tools/extract_features.py my_videos/ features/slowonly \\
        --config slowonly.py --checkpoint slowonly.pth --format npy --launcher pytorch
    python tools/extract_features.py my_videos/ features/slowonly --config slowonly.py \\
        --checkpoint slowonly.pth --ray 192.168.0.1:6379 --gpus 1
"""

import argparse
import os
import sys
from itertools import chain, islice
from pathlib import Path

from demul_mm.cli import add_launcher, run_tool, tool_parser
from demul_mm.files import VIDEO_SUFFIXES, ids_of, list_by_id, read_list, unique_ids


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        'videos', nargs='+', help='JSONL annotations, folders of videos, .txt lists, videos'
    )
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--checkpoint', help='weights of the backbone')
    parser.add_argument('--config', help="config with 'backbone' and, optionally, 'clips'")
    parser.add_argument('--video-root', help="where a JSONL's files are (default: its folder)")
    parser.add_argument('--format', choices=['packed', 'npy', 'safetensors'], default='packed')
    parser.add_argument('--device', help='where the model runs; default: a GPU if there is one')
    parser.add_argument('--batch', type=int, default=128, help='clips at once (default: 128)')
    parser.add_argument('--workers', type=int, default=2, help='decoding processes (default: 2)')
    parser.add_argument(
        '--ray', help="address of a Ray cluster that encodes; 'auto': this machine's"
    )
    parser.add_argument(
        '--gpus', type=float, default=0, help='of each worker of it; .5: two share one'
    )
    add_launcher(parser)
    args = parser.parse_args()
    if args.ray and args.launcher != 'none':
        parser.error('--ray and --launcher are two ways to the same; give one of them')
    if args.ray and args.device:
        parser.error('the workers of a cluster use the GPUs that --gpus gives them; no --device')
    if args.launcher != 'none' and args.format == 'packed':
        parser.error('several processes cannot write one packed file; give --format npy')
    if not args.checkpoint and not args.config:
        parser.error('give --checkpoint (of tools/pretrain_backbone.py), --config, or both')
    return args


def list_videos(source: str, root: str | None) -> list[tuple[str, str]]:
    """(video id, path) of one video, or of the videos of a folder, a list or an annotation."""
    from demul_mm.datasets.reading import entry, read_jsonl
    from demul_mm.video.frame_folder import list_frame_folders

    path = Path(source)
    if path.is_dir():
        files = list_by_id(path, VIDEO_SUFFIXES).items()
        found = [(video_id, str(path / file)) for video_id, file in files]
        return found or list(list_frame_folders(path).items())
    if not path.is_file():
        raise FileNotFoundError(f'{source}: no such file; give a .jsonl, a folder or a .txt list')
    if path.suffix.lower() not in ('.jsonl', '.json', '.txt'):
        return [(path.stem, str(path))]
    if path.suffix.lower() == '.txt':
        named = ids_of(read_list(path))
        return [(name, str(path.parent / line)) for line, name in named.items()]
    videos = []
    for where, row in read_jsonl(source):
        video_id = entry(row, 'video_id', source, where, str)
        file = entry(row, 'video', source, where, str)
        videos.append((video_id, str(Path(root or path.parent, file))))
    return videos


def main() -> int:
    args = parse_args()
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # decoders and encoder share the cores
    from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process

    from demul_mm.apis.extraction import extract, load_backbone, open_writer
    from demul_mm.cli.launch import join
    from demul_mm.cluster import Cluster

    videos = unique_ids(v for source in args.videos for v in list_videos(source, args.video_root))
    if not videos:
        raise ValueError(
            f'{" ".join(args.videos)}: no videos ({", ".join(VIDEO_SUFFIXES)}), and '
            'no folders of numbered frames'
        )
    join(args.launcher)
    share = dict(islice(videos.items(), get_rank(), None, get_world_size()))
    cluster = Cluster(args.ray, args.gpus) if args.ray else None
    backbone = load_backbone(args.config, args.checkpoint, 'cpu' if cluster else args.device)
    with open_writer(args.out, args.format, backbone) as writer:
        there = sum(video_id in writer for video_id in share)
        if there:
            print(f'{there} of {len(share)} videos are there already')
        failures = extract(share, backbone, writer, args.batch, args.workers, cluster)
    # All wait for all: where one process has an exit code, torchrun and srun stop the others.
    failures = list(chain(*all_gather_object(failures)))
    if failures and is_main_process():
        print(f'{len(failures)} of {len(videos)} videos were left out:', file=sys.stderr)
        print(*failures, sep='\n  ', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    run_tool(main)
