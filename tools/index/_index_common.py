"""What the index tools share."""

import argparse
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config

if TYPE_CHECKING:
    from demul_mm.index import EntrySource, MomentIndex


def add_source_arguments(
    parser: argparse.ArgumentParser,
    target: str = 'index',
    what: str = 'folder of the index',
    files: bool = True,
) -> None:
    """Where the moment vectors come from.

    Args:
        parser: the tool's.
        target: name of what is written.
        what: it is.
        files: vectors may come from files instead of a model.
    """
    parser.add_argument(target, help=what)
    optional = '?' if files else None
    parser.add_argument(
        'config', nargs=optional, help='config of the model that encodes the videos'
    )
    parser.add_argument('checkpoint', nargs=optional, help='its weights')
    parser.set_defaults(vectors=None)
    if files:
        parser.add_argument(
            '--vectors', help='folder of moment vectors (*.safetensors), instead of a model'
        )
    parser.add_argument(
        '--levels',
        nargs='+',
        type=int,
        help='levels of the pyramid that are indexed, 0 the finest (default: all); the coarser '
        'ones alone make a smaller index',
    )
    parser.add_argument('--workers', type=int, default=0, help='processes that read videos')
    add_config_options(parser)
    parser.add_argument(
        '--no-resume', action='store_true', help='throw away what a killed run has written'
    )


def make_source(args: argparse.Namespace) -> tuple['EntrySource', dict[str, str]]:
    """The videos, and the fingerprints of what made their vectors."""
    if bool(args.vectors) == bool(args.config) or bool(args.config) != bool(args.checkpoint):
        raise ValueError('give either --vectors FOLDER, or CONFIG and CHECKPOINT')
    if args.vectors:
        from demul_mm.index.vectors import VectorFolder

        folder = VectorFolder(args.vectors)
        return folder, folder.fingerprints
    from demul_mm.apis import CorpusInferencer

    config = load_config(args.config, args.cfg_options)
    made = CorpusInferencer(config, args.checkpoint, cache_videos=0, num_workers=args.workers)
    return made.entries(args.levels)


def open_for(args: argparse.Namespace, fingerprints: dict[str, str]) -> 'MomentIndex':
    """The index, which vectors with these fingerprints are added to."""
    from demul_mm.index import MomentIndex

    return MomentIndex.open(
        args.index,
        expected_fingerprint=fingerprints['model_fingerprint'] or None,
        expected_features=fingerprints['feature_fingerprint'] or None,
    )


def tell_left_out(source: 'EntrySource') -> int:
    """List the videos that could not be read; the exit code: 1 if there are any, else 0."""
    bank = getattr(source, 'bank', None)  # of a model
    failures = {} if bank is None else bank.failures
    if failures:
        print(f'{len(failures)} of {len(source.ids())} videos were left out:', file=sys.stderr)
        for video_id, why in failures.items():
            print(f'  {video_id}: {why}', file=sys.stderr)
    return 1 if failures else 0


def summary(index: 'MomentIndex') -> str:
    """One line about an index."""
    stats = index.stats()
    return (
        f'{stats["path"]}: {stats["videos"]:,} videos, {stats["moments"]:,} moments of '
        f'{stats["dim"]} dimensions, {stats["bytes_on_disk"] / 2**20:,.1f} MiB '
        f'({stats["bytes_per_video"] / 1000:.2f} KB a video), {stats["backend"]} '
        f'({stats["level1"]["kind"]}), generation {stats["generation"]}'
    )


def progress_bar(total: int, what: str) -> tqdm:
    """A bar that counts videos."""
    return tqdm(total=total, desc=what, unit=' videos', smoothing=0.05)
