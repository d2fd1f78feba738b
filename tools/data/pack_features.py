"""Convert published features to the packed form, one memory-mapped file.

The source is a folder with a file for each video (.npy, .npz, .safetensors, .pt), an HDF5 file or
an LMDB environment of .npz or .npy.
Several sources are joined side by side, as CLIP and SlowFast are: a video must then be in all of
them, and its rows are cut to those of the shortest.

Run it again with the same sources and options to resume. Videos whose features are empty, contain
NaN or have another width than the first are left out and listed; the exit code is then 1.

Examples:
    # ActivityNet C3D: one group a video, the array in it is called c3d_features
    python tools/data/pack_features.py sub_activitynet_v1-3.c3d.hdf5 \\
        data/activitynet/features/c3d --key '{video_id}/c3d_features'
    # TACoS: the files lack the '.avi' that the annotations have
    python tools/data/pack_features.py i3d_tacos/ data/tacos/features/i3d --id '{name}.avi'
    # CLIP and SlowFast side by side, one row every 2 s
    python tools/data/pack_features.py clip/ slowfast/ data/charades/features/clip_slowfast \\
        --key features --clip-seconds 2
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from demul_mm.cli import run_tool, tool_parser

if TYPE_CHECKING:
    from demul_mm.datasets import FeatureStore


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        'sources', nargs='+', metavar='source', help='folder, HDF5 file or LMDB environment'
    )
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--key',
        help='name of the array in .npz and .safetensors files (default: the only one); '
        "path of a video's array in HDF5 (default: '{video_id}')",
    )
    parser.add_argument(
        '--id', default='{name}', help="video id from the name in the source, as '{name}.avi'"
    )
    parser.add_argument('--dtype', choices=['float16', 'float32'], default='float16')
    parser.add_argument(
        '--clip-seconds',
        type=float,
        help='seconds a row covers (default: the rows of a video cover its duration evenly)',
    )
    args = parser.parse_args()
    if args.clip_seconds is not None and not 0 < args.clip_seconds < math.inf:
        parser.error(f'--clip-seconds {args.clip_seconds:g}: give seconds above 0')
    try:
        named = args.id.format(name='a') != args.id.format(name='b')
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        named = False
    if not named:
        parser.error(f'--id {args.id!r}: make it of {{name}} alone')
    return args


def open_source(path: str, key: str | None) -> 'FeatureStore':
    from demul_mm.datasets import FolderStore, HDF5Store, LMDBStore

    if os.path.isfile(os.path.join(path, 'data.mdb')):
        return LMDBStore(path, key=key)
    if os.path.isdir(path):
        return FolderStore(path, key=key)
    return HDF5Store(path, key=key or '{video_id}')


def load(stores: list['FeatureStore'], name: str) -> np.ndarray:
    parts = [store.load(name) for store in stores]
    rows = min(len(part) for part in parts)
    return np.concatenate([part[:rows] for part in parts], axis=1)


def ids_of(names: Sequence[str], form: str) -> dict[str, str]:
    """Video ids, each with its name in the source."""
    ids: dict[str, str] = {}
    for name in names:
        first = ids.setdefault(form.format(name=name), name)
        if first != name:
            raise ValueError(f'--id {form!r} makes one video of {first!r} and {name!r}')
    return ids


def main() -> int:
    args = parse_args()
    from demul_mm.datasets import PackedWriter

    stores = [open_source(path, args.key) for path in args.sources]
    names = [name for name in stores[0].ids() if all(name in store for store in stores[1:])]
    if not names:
        raise ValueError(f'{args.sources}: no video is in all of the sources')
    ids = ids_of(names, args.id)
    bad: list[str] = []
    provenance = {
        'made_by': 'tools/data/pack_features.py',
        'sources': [os.path.basename(os.path.normpath(path)) for path in args.sources],
        'key': args.key,
        'id': args.id,
    }
    with PackedWriter(
        args.out,
        dim=sum(store.dim for store in stores),
        dtype=args.dtype,
        provenance=provenance,
        clip_seconds=args.clip_seconds,
    ) as writer:
        for video_id, name in tqdm(ids.items(), unit='video'):
            if video_id in writer:
                continue
            try:
                writer.add(video_id, load(stores, name))
            except (ValueError, OSError) as error:
                bad.append(str(error))
    print(f'{args.out}: {len(writer):,} videos, {sum(s.dim for s in stores)} values a row')
    if bad:
        print(f'{len(bad):,} videos left out:', *bad, sep='\n', file=sys.stderr)
    return 1 if bad else 0


if __name__ == '__main__':
    run_tool(main)
