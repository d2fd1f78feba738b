"""Train, test and search DeMUL on a small rendered corpus, and write a report to look at.

Each stage is one of this project's own commands, printed before it runs, and can be run by hand;
what it prints goes to a log. Stop it whenever you like (Ctrl-C): run again, and it goes on.

Examples:
    python tools/demo.py
    python tools/demo.py --work-dir work_dirs/demo_tiny --train 40 --val 10 --test 10 --epochs 2
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

from mmengine.config import Config

from demul_mm.cli import load_config, run_tool, tool_parser
from demul_mm.cli.stages import Stage, Stages, bar, batches, epochs
from demul_mm.files import read_text

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/demul_demo.py'
PROCESSES = 2
SPLITS = ('train', 'val', 'test')
STEPS = 350
"""Of the backbone."""


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--train', type=int, default=800, help='training videos (default: 800)')
    parser.add_argument('--val', type=int, default=80, help='validation videos (default: 80)')
    parser.add_argument('--test', type=int, default=120, help='test videos (default: 120)')
    parser.add_argument('--seed', type=int, default=0, help='of the corpus and the training')
    parser.add_argument(
        '--steps', type=int, default=STEPS, help=f'of the backbone (default: {STEPS})'
    )
    parser.add_argument('--epochs', type=int, help="epochs of DeMUL (default: the config's)")
    args = parser.parse_args()
    for split in SPLITS:  # one to train on, to choose on and to show
        if getattr(args, split) < 1:
            parser.error(f'--{split} {getattr(args, split)}: give at least one video')
    return args


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint that validation chose last."""
    found = sorted(folder.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f'there is no best_*.pth in {folder}')
    return found[-1]


def plan(args: argparse.Namespace, work: Path) -> list[Stage]:
    """The stages, with the seconds that they take on two AVX2 cores without bfloat16."""
    data, run, backbone = work / 'data', work / 'train', work / 'backbone.pth'
    films = sum(getattr(args, split) for split in SPLITS)
    config = Config.fromfile(ROOT / CONFIG)
    length = args.epochs or config.train_cfg.max_epochs
    options = [f'{split}_dataloader.dataset.data_root="{data}/"' for split in SPLITS]
    # One process a core, each with its share of a batch: small tensors gain little from threads.
    share = config.train_dataloader.batch_size // PROCESSES
    return [
        Stage(
            'render',
            'Render a corpus of small films with sentences about their moments',
            [
                'tools/data/rendered/make_corpus.py', data, '--seed', args.seed,
                *(word for split in SPLITS for word in (f'--{split}', getattr(args, split))),
            ],
            seconds=3 + 0.093 * films,
            counters=(bar('videos'),),
        ),
        Stage(
            'pretrain',
            'Train a small video backbone on the words of the training sentences',
            [
                'tools/pretrain_backbone.py', data / 'train.jsonl', '--out', backbone,
                '--steps', args.steps, '--seed', args.seed,
            ],
            seconds=8 + 0.05 * args.train + 0.125 * args.steps,
            counters=(bar('decode', 0, 0.2), bar('train', 0.2, 1)),
            inside=True,
        ),
        Stage(
            'extract',
            'Extract clip features, once for each video',
            [
                'tools/extract_features.py', *(data / f'{split}.jsonl' for split in SPLITS),
                data / 'features', '--checkpoint', backbone,
            ],
            seconds=2 + 0.075 * films,
            counters=(bar('features'),),
            inside=True,
        ),
        Stage(
            'train',
            'Train DeMUL',
            [
                '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', PROCESSES,
                'tools/train.py', CONFIG, '--launcher', 'pytorch', '--work-dir', run,
                '--seed', args.seed, '--resume', '--cfg-options', *options,
                f'train_dataloader.batch_size={share}', f'train_cfg.max_epochs={length}',
            ],
            seconds=25 + 0.035 * length * args.train,
            counters=(epochs(length),),
        ),
        Stage(
            'test',
            'Test it on the test films, which it has not seen',
            [
                'tools/test.py', CONFIG, partial(best_checkpoint, run), '--work-dir', work / 'test',
                '--dump', work / 'test.json', '--cfg-options', *options,
            ],
            seconds=2 + 0.085 * args.test,
            counters=(batches(),),
            inside=True,
        ),
        Stage(
            'search',
            'Index all test films, search them, and write the report',
            partial(report, work),
            seconds=1 + 0.02 * args.test,
        ),
    ]  # fmt: skip


def main() -> None:
    args = parse_args()
    work = (ROOT / args.work_dir).resolve()
    arguments = {name: value for name, value in vars(args).items() if name != 'work_dir'}
    Stages(work, ROOT, arguments).run(plan(args, work))
    print(f'\nOpen {work / "report.html"}')


def search(work: Path) -> tuple[list, list[str]]:
    """Ask the corpus for moments; returns what the report shows, and what the terminal does."""
    from demul_mm.apis import CorpusInferencer
    from demul_mm.evaluation import load_predictions
    from demul_mm.visualization.from_predictions import find_videos, report_searches

    data = work / 'data'
    config = load_config(
        str(ROOT / CONFIG), {'test_dataloader.dataset.data_root': f'{data}/'}, str(work / 'test')
    )
    inferencer = CorpusInferencer(config, best_checkpoint(work / 'train'))
    inferencer.build_index(dict(type='FaissIndex', path=str(work / 'index')), overwrite=True)
    _, entries = load_predictions(work / 'test.json')
    asked = [dict(entry) for entry in entries[:: max(1, len(entries) // 6)][:6]]
    clock = time.perf_counter()
    answers = inferencer([entry['query'] for entry in asked], num_moments=5)
    clock = (time.perf_counter() - clock) / len(asked)
    for entry, answer in zip(asked, answers):
        entry['corpus'] = [
            [m['video_id'], m['start'], m['end'], m['probability']] for m in answer['moments']
        ]
    durations = {entry['video_id']: entry['duration'] for entry in entries}
    searches = report_searches(asked, durations, find_videos(data / 'videos', list(durations)))
    lines = []
    for found in searches:
        found.remark = f'{len(durations)} films, {1000 * clock:.0f} ms a query'
        best = found.hits[0] if found.hits else None
        where = f'{best.video_id} {best.start:.1f}-{best.end:.1f} s' if best else 'nothing'
        lines.append(f'{found.query}  ->  {where}')
    return searches, lines


def report(work: Path) -> str:
    """Search, score the dump, write ``report.html`` and ``metrics.json``; returns a summary."""
    from demul_mm.evaluation import load_predictions
    from demul_mm.evaluation.metrics import MomentRecall
    from demul_mm.visualization.from_predictions import find_videos, group_by_video, report_videos
    from demul_mm.visualization.report import write_report

    _, entries = load_predictions(work / 'test.json')
    metrics = MomentRecall(topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge').compute_entries(entries)
    (work / 'metrics.json').write_text(json.dumps(metrics, indent=1) + '\n')
    searches, lines = search(work)
    shown = list(group_by_video(entries).values())[:6]
    paths = find_videos(work / 'data' / 'videos', [group[0]['video_id'] for group in shown])
    seconds = sum(json.loads(read_text(work / 'stages.json'))['seconds'].values())
    write_report(
        work / 'report.html',
        'DeMUL on the rendered corpus',
        metrics,
        report_videos([entry for group in shown for entry in group], paths),
        searches=searches,
        meta=dict(
            films=len(group_by_video(entries)),
            queries=len(entries),
            seconds=f'{seconds:.0f}',
        ),
        lead='Films of coloured shapes that this machine rendered, a backbone and a DeMUL that it '
        'trained on some of them and chose by others, and what they find in the test films, which '
        'had no part in either. The floors are what a system reaches that never looks at the '
        'video.',
    )
    key = 'R@1,IoU=0.5'
    floor = max(v for k, v in metrics.items() if k.startswith('floor/') and k.endswith(f'/{key}'))
    lines.append(f'{key}: {metrics[key]:.1f} (best language-blind floor: {floor:.1f})')
    return '\n'.join(lines)


if __name__ == '__main__':
    run_tool(main)
