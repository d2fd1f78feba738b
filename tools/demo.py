"""Train, test and search DeMUL on a small rendered corpus, and write a report to look at.

Each stage is one of this project's own commands, printed before it runs, and can be run by hand.
What is finished is kept: run again to go on where it stopped.

Examples:
    python tools/demo.py
    python tools/demo.py --work-dir work_dirs/demo_tiny --train 40 --val 10 --test 10 --epochs 2
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

from demul_mm.cli import load_config, run_tool, tool_parser

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/demul_demo.py'
PROCESSES = 2


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--train', type=int, default=400, help='training videos (default: 400)')
    parser.add_argument('--val', type=int, default=80, help='validation videos (default: 80)')
    parser.add_argument('--test', type=int, default=120, help='test videos (default: 120)')
    parser.add_argument('--seed', type=int, default=0, help='of the corpus and the training')
    parser.add_argument('--steps', type=int, help="backbone steps (default: the tool's own)")
    parser.add_argument('--epochs', type=int, help="epochs of DeMUL (default: the config's)")
    args = parser.parse_args()
    if args.test < 1:
        parser.error(f'--test {args.test}: results are shown on test videos, give at least one')
    return args


class Stages:
    """Runs commands in turn, says which, and keeps the time."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.begin = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def start(self, title: str) -> None:
        self.number += 1
        self.title, self.since = title, time.perf_counter()
        print(f'\n[{self.number}/{self.total}] {title}', flush=True)

    def stop(self) -> None:
        self.seconds[self.title] = time.perf_counter() - self.since
        total = time.perf_counter() - self.begin
        print(f'    {self.seconds[self.title]:.0f} s; {total:.0f} s in all', flush=True)

    def run(self, title: str, *command: object) -> None:
        """Run a Python tool of this project; its failure ends the demo."""
        words = [str(word) for word in command]
        self.start(title)
        print(f'    python {shlex.join(words)}', flush=True)
        done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
        if done.returncode:
            raise ChildProcessError(f'"{title}" failed, see above (exit code {done.returncode})')
        self.stop()


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint that validation chose last."""
    found = sorted(folder.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f'there is no best_*.pth in {folder}')
    return found[-1]


def main() -> None:
    args = parse_args()
    work = (ROOT / args.work_dir).resolve()
    data, run = work / 'data', work / 'train'
    backbone, features, dump = work / 'backbone.pth', data / 'features', work / 'test.json'
    stages = Stages(total=7)
    stages.run(
        'Render a corpus of small films with sentences about their moments',
        'tools/data/rendered/make_corpus.py', data,
        '--train', args.train, '--val', args.val, '--test', args.test, '--seed', args.seed,
    )  # fmt: skip
    steps = [] if args.steps is None else ['--steps', args.steps]
    if not backbone.is_file():
        stages.run(
            'Train a small video backbone on the words of the training sentences',
            'tools/pretrain_backbone.py', data / 'train.jsonl', '--out', backbone, *steps,
        )  # fmt: skip
    stages.run(
        'Extract clip features, once for each video',
        'tools/extract_features.py', *(data / f'{part}.jsonl' for part in ('train', 'val', 'test')),
        features, '--checkpoint', backbone,
    )  # fmt: skip
    options = [f'{part}_dataloader.dataset.data_root={data}/' for part in ('train', 'val', 'test')]
    epochs = [] if args.epochs is None else [f'train_cfg.max_epochs={args.epochs}']
    # One process a core, each with half of a batch: small tensors gain little from threads.
    whole = Config.fromfile(ROOT / CONFIG).train_dataloader.batch_size
    half = f'train_dataloader.batch_size={whole // PROCESSES}'
    stages.run(
        'Train DeMUL',
        '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', PROCESSES,
        'tools/train.py', CONFIG, '--launcher', 'pytorch', '--work-dir', run, '--seed', args.seed,
        '--resume', '--cfg-options', half, *options, *epochs,
    )  # fmt: skip
    checkpoint = best_checkpoint(run)
    stages.run(
        'Test it on the test films, which it has not seen',
        'tools/test.py', CONFIG, checkpoint, '--work-dir', work / 'test', '--dump', dump,
        '--cfg-options', *options,
    )  # fmt: skip
    stages.start('Index all test films and search them')
    searches = search(checkpoint, work, data, dump)
    stages.stop()
    stages.start('Write the report')
    report(work, data, dump, searches, stages)
    stages.stop()
    print(f'\nOpen {work / "report.html"}')


def search(checkpoint: Path, work: Path, data: Path, dump: Path) -> list:
    """Ask the corpus for moments; returns what the report shows."""
    from demul_mm.apis import CorpusInferencer
    from demul_mm.evaluation import load_predictions
    from demul_mm.visualization.from_predictions import find_videos, report_searches

    config = load_config(
        str(ROOT / CONFIG), {'test_dataloader.dataset.data_root': f'{data}/'}, str(work / 'test')
    )
    inferencer = CorpusInferencer(config, checkpoint)
    inferencer.build_index(dict(type='FaissIndex', path=str(work / 'index')), overwrite=True)
    _, entries = load_predictions(dump)
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
    for found in searches:
        found.remark = f'{len(durations)} films, {1000 * clock:.0f} ms a query'
        best = found.hits[0] if found.hits else None
        where = f'{best.video_id} {best.start:.1f}-{best.end:.1f} s' if best else 'nothing'
        print(f'    {found.query}  ->  {where}')
    return searches


def report(work: Path, data: Path, dump: Path, searches: list, stages: Stages) -> None:
    """Score the dump, print the table, and write ``report.html`` and ``metrics.json``."""
    from demul_mm.evaluation import load_predictions
    from demul_mm.evaluation.metrics import MomentRecall
    from demul_mm.visualization.from_predictions import find_videos, group_by_video, report_videos
    from demul_mm.visualization.report import write_report

    _, entries = load_predictions(dump)
    metrics = MomentRecall(topk=(1, 5), ious=(0.3, 0.5, 0.7), iou_op='ge').compute_entries(entries)
    (work / 'metrics.json').write_text(json.dumps(metrics, indent=1) + '\n')
    shown = list(group_by_video(entries).values())[:6]
    paths = find_videos(data / 'videos', [group[0]['video_id'] for group in shown])
    key = 'R@1,IoU=0.5'
    floor = max(value for name, value in metrics.items() if name.endswith(f'/{key}')
                and name.startswith('floor/'))  # fmt: skip
    print(f'    {key}: {metrics[key]:.1f} (best language-blind floor: {floor:.1f})')
    write_report(
        work / 'report.html',
        'DeMUL on the rendered corpus',
        metrics,
        report_videos([entry for group in shown for entry in group], paths),
        searches=searches,
        meta=dict(
            films=len(group_by_video(entries)),
            queries=len(entries),
            seconds=f'{time.perf_counter() - stages.begin:.0f}',
        ),
        lead='Films of coloured shapes that this machine rendered, a backbone and a DeMUL that it '
        'trained on some of them and chose by others, and what they find in the test films, which '
        'had no part in either. The floors are what a system reaches that never looks at the '
        'video.',
    )


if __name__ == '__main__':
    run_tool(main)
