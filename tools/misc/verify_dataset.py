"""Check the annotations, features and video files of a data set, all at once.

Finds features that are missing, unreadable, empty, of the wrong dimension, not finite, or changed
since they were written, and every fault of annotations in our JSONL form. Prints a table; the exit
code is 1 if anything is bad.

Examples:
    python tools/misc/verify_dataset.py configs/demul_anet.py
    python tools/misc/verify_dataset.py configs/demul_anet.py --part test --workers 2
    python tools/misc/verify_dataset.py configs/demul_anet.py \\
        --cfg-options features=configs/_base_/features/simulated.py
    python tools/misc/verify_dataset.py --dataset JsonlMomentDataset --ann-file my.jsonl \\
        --store FolderStore --features my_features/ --dim 512
"""

import argparse
import os
from typing import TYPE_CHECKING

from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.registry import DATASETS, FEATURE_STORES

if TYPE_CHECKING:
    from demul_mm.datasets.verification import Findings


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', nargs='?', help='config whose data sets to check')
    parser.add_argument('--part', choices=['train', 'val', 'test'], help='only this one of them')
    parser.add_argument('--dataset', help='instead of a config: class of the data set')
    parser.add_argument('--ann-file', help='annotation file, with --dataset')
    parser.add_argument('--info-file', nargs='+', help='its further files (see the class)')
    parser.add_argument('--split', default='train', help='name of the split, with --dataset')
    parser.add_argument('--store', help='class of the feature store, with --dataset')
    parser.add_argument('--features', help='path of the feature store, with --dataset')
    parser.add_argument('--dim', type=int, help='expected dimension of the features')
    parser.add_argument('--workers', type=int, default=2, help='processes (default: 2)')
    parser.add_argument('--examples', type=int, default=3, help='examples a fault (default: 3)')
    add_config_options(parser)
    args = parser.parse_args()
    if (args.config is None) == (args.dataset is None):
        parser.error('give either a config or --dataset with --ann-file')
    if args.dataset and not args.ann_file:
        parser.error('--dataset needs --ann-file')
    if (args.store is None) != (args.features is None):
        parser.error('give both --store and --features, or neither')
    return args


def configs_of(args: argparse.Namespace) -> dict[str, dict]:
    from demul_mm.datasets.base import each_of

    if args.config:
        config = load_config(args.config, args.cfg_options)
        parts = [args.part] if args.part else ['train', 'val', 'test']
        found: dict[str, dict] = {}
        for part in parts:
            joined = list(each_of(config[f'{part}_dataloader'].dataset.to_dict()))
            titles = [f'{part} {index}' for index in range(len(joined))]
            found |= zip(titles if len(joined) > 1 else [part], joined)
        return found
    dataset = dict(
        type=args.dataset, ann_file=args.ann_file, info_file=args.info_file, split=args.split
    )
    if args.store:
        store = dict(type=args.store, path=os.path.abspath(args.features))
        dataset['features'] = dict(visual={**store, **({'dim': args.dim} if args.dim else {})})
    return {args.split: dataset}


def stores_of(dataset: dict) -> dict[str, tuple[dict, bool]]:
    """The feature stores that the data set reads, with their final paths, by stream.

    Each with whether a video may lack the stream.
    """
    from demul_mm.datasets.base import kind_of, resolve_store

    stores = {}
    for step in dataset.get('pipeline', [dict(type='LoadVideoFeature')]):
        if kind_of(step) == 'LoadVideoFeature':
            stream = step.get('stream', 'visual')
            store = step.get('store') or dataset.get('features', {}).get(stream)
            if store is not None:
                root = dataset.get('data_root', '')
                resolved = resolve_store(store, root, dataset['split'])
                stores[stream] = resolved, bool(step.get('optional'))
    return stores


def with_features(items: list[dict], store: dict) -> list[dict]:
    """The items whose video is in the store."""
    opened = FEATURE_STORES.build({k: v for k, v in store.items() if k != 'dim'})
    found = [item for item in items if item['video_id'] in opened]
    print(f'{store["path"]}: optional, {len(items) - len(found):,} videos have none')
    return found


def report(title: str, findings: 'Findings', examples: int) -> int:
    print(f'{title}: {findings.checked:,} videos, {findings.bad:,} bad')
    if findings.bad:
        print(findings.table(examples))
    return findings.bad


def check(part: str, config: dict, args: argparse.Namespace) -> int:
    """Check one data set; the number of faults."""
    from demul_mm.datasets import validate_jsonl
    from demul_mm.datasets.base import kind_of
    from demul_mm.datasets.verification import Findings, check_features_of, check_videos_of

    bare = {k: v for k, v in config.items() if k not in ('features', 'pipeline')}
    try:
        dataset = DATASETS.build({**bare, 'test_mode': True})
    except (ValueError, FileNotFoundError) as error:
        path = os.path.join(config.get('data_root', ''), config['ann_file'])
        is_jsonl = kind_of(config) == 'JsonlMomentDataset' and os.path.isfile(path)
        faults = (validate_jsonl(path) if is_jsonl else []) or [str(error)]
        print(f'{part} annotations: {len(faults):,} bad')
        print('\n'.join(f'    {fault}' for fault in faults))
        return len(faults)
    items = [dataset.get_data_info(index) for index in range(len(dataset))]
    queries = sum(len(item['queries']) for item in items)
    print(f'{part} annotations: {len(items):,} videos, {queries:,} queries, 0 bad')
    bad = 0
    for stream, (store, optional) in stores_of(config).items():
        try:
            wanted = with_features(items, store) if optional else items
            with tqdm(total=len(wanted), desc=store['path'], unit='video') as bar:
                findings = check_features_of(store, wanted, args.workers, bar.update)
        except (FileNotFoundError, ValueError) as error:
            findings = Findings(len(items), {'no store': [(store['path'], str(error))]})
        bad += report(f'{part} {stream} features', findings, args.examples)
    if any(kind_of(step) == 'LoadVideoClips' for step in config.get('pipeline', [])):
        bad += report(f'{part} video files', check_videos_of(items), args.examples)
    return bad


def main() -> int:
    args = parse_args()
    bad = sum(check(part, config, args) for part, config in configs_of(args).items())
    return 1 if bad else 0


if __name__ == '__main__':
    run_tool(main)
