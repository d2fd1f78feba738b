"""Make stand-in clip features from annotations alone.

The features are a fixed, seeded, non-linear function of the sentences about each second and of the
progress of the event, plus the video's scene, foreign events and correlated noise. With them
full-size data sets can be trained and tested without any download. They say nothing about accuracy
on real videos: their manifest says ``simulated``, and so does every table made from them.

Features belong to an annotation file: a video in two splits (ActivityNet's val_1 and val_2) gets
features for each, from its sentences there.

Examples:
    # all data sets of a config, where configs/_base_/features/simulated.py looks for them
    python tools/data/simulate_features.py configs/demul_anet.py
    # a part of one split
    python tools/data/simulate_features.py configs/demul_anet.py --part train --max-videos 3000
    # any annotation file
    python tools/data/simulate_features.py --dataset JsonlMomentDataset --ann-file my.jsonl \\
        --split train --out data/mine/features/simulated/train
"""

import argparse
import os

from mmengine.config import Config
from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import run_tool, tool_parser
from demul_mm.registry import DATASETS

PATH = 'features/simulated/{split}'  # in the data set's folder, as the features config has it
CHUNK = 256  # videos whose sentences are embedded together


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', nargs='?', help='config whose data sets need features')
    parser.add_argument('--part', choices=['train', 'val', 'test'], help='only this part of it')
    parser.add_argument('--dataset', help='instead of a config: class of the data set')
    parser.add_argument('--ann-file', help='annotation file, with --dataset')
    parser.add_argument('--info-file', nargs='+', help='further files that the class reads')
    parser.add_argument('--split', help='name of the split, with --dataset')
    parser.add_argument('--out', help='folder to write, with --dataset or --part')
    parser.add_argument('--max-videos', type=int, help='only so many videos, chosen by hash')
    parser.add_argument('--dtype', choices=['float16', 'float32'], default='float16')
    parser.add_argument('--dim', type=int, default=256, help='width (default: 256)')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument(
        '--clip-seconds', type=float, default=1.0, help='seconds a row covers (default: 1)'
    )
    args = parser.parse_args()
    if (args.config is None) == (args.dataset is None):
        parser.error('give either a config or --dataset with --ann-file, --split and --out')
    if args.dataset and not (args.ann_file and args.split and args.out):
        parser.error('--dataset needs --ann-file, --split and --out')
    if args.config and args.out and not args.part:
        parser.error('--out with a config needs --part')
    return args


def jobs_of(args: argparse.Namespace) -> dict[str, dict]:
    """The config of the data set for each output folder."""
    if args.dataset:
        return {
            args.out: dict(
                type=args.dataset,
                ann_file=args.ann_file,
                info_file=args.info_file,
                split=args.split,
            )
        }
    from demul_mm.datasets.base import each_of

    config = Config.fromfile(args.config)
    jobs: dict[str, dict] = {}
    keep = ('type', 'ann_file', 'info_file', 'split', 'data_root', 'strict', 'name')
    for part in [args.part] if args.part else ['train', 'val', 'test']:
        for dataset in each_of(config[f'{part}_dataloader'].dataset.to_dict()):
            path = args.out or os.path.join(dataset.get('data_root', ''), PATH)
            path = path.replace('{split}', dataset['split'])
            job = {key: dataset[key] for key in keep if key in dataset}
            other = jobs.setdefault(path, job)
            if any(other.get(key) != job.get(key) for key in ('data_root', 'ann_file')):
                raise ValueError(
                    f'features of {other["ann_file"]} and {job["ann_file"]} would both go to '
                    f'{path}: make each by --dataset with an --out of its own'
                )
    return jobs


def simulate(dataset_config: dict, out: str, args: argparse.Namespace) -> None:
    from demul_mm.datasets import PackedWriter
    from demul_mm.datasets.folds import hash_subset
    from demul_mm.datasets.simulation import FeatureSimulator, PhraseEncoder, SimulationConfig

    options = SimulationConfig(dim=args.dim, seed=args.seed, clip_seconds=args.clip_seconds)
    dataset = DATASETS.build({**dataset_config, 'test_mode': True})
    items = [dataset.get_data_info(index) for index in range(len(dataset))]
    simulator = FeatureSimulator(items, options, PhraseEncoder(options.parts))
    chosen = hash_subset([item['video_id'] for item in items], args.max_videos)
    source = {'annotations': os.path.basename(dataset.ann_file), 'split': dataset.split}
    with PackedWriter(
        out,
        dim=options.dim,
        dtype=args.dtype,
        simulated=True,
        provenance={**simulator.provenance(), **source},
    ) as writer:
        todo = [video_id for video_id in chosen if video_id not in writer]
        with tqdm(total=len(chosen), initial=len(chosen) - len(todo), unit='video') as bar:
            bar.set_description(out)
            for start in range(0, len(todo), CHUNK):
                chunk = todo[start : start + CHUNK]
                for video_id, features in zip(chunk, simulator.simulate(chunk)):
                    writer.add(video_id, features)
                    bar.update()
    MMLogger.get_current_instance().info(f'{out}: {len(writer):,} videos, simulated features')


def main() -> None:
    args = parse_args()
    # Before torch is loaded: busy-waiting threads slow each other down on a loaded machine.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    for out, dataset_config in jobs_of(args).items():
        simulate(dataset_config, out, args)


if __name__ == '__main__':
    run_tool(main)
