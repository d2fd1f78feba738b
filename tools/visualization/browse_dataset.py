"""Draw items of a config's data set: sentences, moments and features on the time line.

Each picture shows an item as it is annotated and as its pipeline leaves it, with the queries that
were sampled. If the pipeline holds augmentations, it is shown without them and then with them, over
the same seconds, for comparison; with --each, every one of them also alone. The strip under the
moments is the similarity of each clip to all others, which shows where the features change; key
frames are added where the video file is at hand.

Examples:
    python tools/visualization/browse_dataset.py configs/demul_anet.py
    python tools/visualization/browse_dataset.py configs/demul_demo.py --part val --num 3
    python tools/visualization/browse_dataset.py configs/demul_anet.py --video v_QOlSCBRmfWY \\
        --repeat 4 --out-dir work_dirs/augmented
    python benchmarks/ablations.py configs/demul_anet.py augmented work_dirs/augmented.py
    python tools/visualization/browse_dataset.py work_dirs/augmented.py --each
"""

import argparse
import copy
from typing import TYPE_CHECKING

from tqdm import tqdm

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser
from demul_mm.files import inside
from demul_mm.registry import DATASETS

if TYPE_CHECKING:
    from demul_mm.datasets import MomentDataset


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config whose data set to draw')
    parser.add_argument('--part', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--out-dir', default='work_dirs/browse', help='folder for the pictures')
    parser.add_argument('--num', type=int, default=8, help='items, spread evenly (default: 8)')
    parser.add_argument('--video', nargs='+', help='these videos instead')
    parser.add_argument('--repeat', type=int, default=1, help='draws of the pipeline for each item')
    parser.add_argument(
        '--each', action='store_true', help='also show what each augmentation does alone'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random steps (default: 0)')
    parser.add_argument('--max-queries', type=int, default=12, help='most queries drawn')
    add_config_options(parser)
    return parser.parse_args()


def choose(dataset: 'MomentDataset', args: argparse.Namespace) -> list[int]:
    if not args.video:
        count = min(args.num, len(dataset))
        return [round(i * (len(dataset) - 1) / max(count - 1, 1)) for i in range(count)]
    places = {dataset.get_data_info(i)['video_id']: i for i in range(len(dataset))}
    unknown = [video for video in args.video if video not in places]
    if unknown:
        examples = ', '.join(list(places)[:3])
        raise ValueError(
            f'no video {unknown[0]!r} in the {args.part} data set; it has such as {examples}'
        )
    return [places[video] for video in args.video]


def main() -> None:
    args = parse_args()
    from demul_mm.visualization.browsing import augmentations_of, draw_item, run_alone, run_pipeline
    from demul_mm.visualization.charts import save_figure

    config = load_config(args.config, args.cfg_options)
    dataset = DATASETS.build(config[f'{args.part}_dataloader'].dataset)
    for index in tqdm(choose(dataset, args), unit='item'):
        info = dataset.get_data_info(index)
        draws = [run_pipeline(dataset, index, args.seed + draw) for draw in range(args.repeat)]
        steps = augmentations_of(dataset)
        plain = run_pipeline(dataset, index, args.seed, only=[]) if steps else None
        alone = run_alone(dataset, index, args.seed) if args.each else None
        figure = draw_item(copy.deepcopy(info), plain, draws, args.max_queries, alone)
        picture = inside(args.out_dir, f'{args.part}_{info["video_id"]}', '.png')
        save_figure(figure, picture)
    print(f'pictures in {args.out_dir}')


if __name__ == '__main__':
    run_tool(main)
