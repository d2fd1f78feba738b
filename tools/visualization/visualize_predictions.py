"""Turn a predictions file into a report (one HTML file) or into one picture for each video.

Which phrase is like which clips is drawn if the model was asked to say so when it was tested:
tools/test.py CONFIG best.pth --dump x.json --cfg-options model.test_cfg.explain=True

Examples:
    python tools/visualization/visualize_predictions.py val_2.json --html report.html
    python tools/visualization/visualize_predictions.py x.json --videos data/videos \\
        --html report.html
    python tools/visualization/visualize_predictions.py x.json --pictures pictures/ --max-videos 50
"""

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger
from tqdm import tqdm

from demul_mm.cli import run_tool, tool_parser
from demul_mm.files import inside

if TYPE_CHECKING:
    from demul_mm.evaluation.predictions import PredictionEntry


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('predictions', help='file written by tools/test.py --dump')
    parser.add_argument('--html', help='write a report to this file')
    parser.add_argument('--pictures', help='write one PNG for each video to this folder')
    parser.add_argument('--videos', help='folder with <video id>.mp4, for key frames')
    parser.add_argument('--max-videos', type=int, default=20, help='videos drawn, by chance')
    parser.add_argument('--max-queries', type=int, default=8, help='queries drawn of each video')
    parser.add_argument('--seed', type=int, default=0, help='of the choice of videos')
    parser.add_argument('--iou-op', choices=('ge', 'gt'), default='ge')
    args = parser.parse_args()
    if not args.html and not args.pictures:
        parser.error('give --html FILE, --pictures FOLDER, or both')
    return args


def choose(
    entries: list['PredictionEntry'], args: argparse.Namespace
) -> dict[str, list['PredictionEntry']]:
    """Some videos with some of their queries."""
    from demul_mm.visualization.from_predictions import group_by_video

    groups = group_by_video(entries)
    names = sorted(groups)
    chosen = sorted(random.Random(args.seed).sample(names, min(args.max_videos, len(names))))
    return {name: groups[name][: args.max_queries] for name in chosen}


def write_pictures(
    groups: dict[str, list['PredictionEntry']], paths: dict[str, Path], folder: str
) -> None:
    from demul_mm.models.heads.joint_score import TERMS
    from demul_mm.video.frames import even_times
    from demul_mm.visualization.charts import TimelineRow, draw_timeline, save_figure
    from demul_mm.visualization.from_predictions import entry_phrases, frames_or_none

    for video_id, own in tqdm(groups.items(), unit='video'):
        out = inside(folder, video_id, '.png')
        duration = own[0]['duration']
        rows = []
        for e in own:
            terms = e['terms'][0] if e.get('terms') else []
            rows.append(
                TimelineRow(e.get('query', ''), e['gt'], e['pred'], terms, entry_phrases(e))
            )
        frames = frames_or_none(paths.get(video_id), even_times(duration, 10), height=90)
        title = f'{video_id}   {duration:.1f} s'
        save_figure(draw_timeline(title, duration, rows, frames, TERMS), out)


def main() -> None:
    args = parse_args()
    from demul_mm.evaluation.metrics import MomentRecall
    from demul_mm.evaluation.predictions import load_predictions
    from demul_mm.evaluation.rescore import score_entries
    from demul_mm.visualization.from_predictions import (
        find_videos,
        report_searches,
        report_videos,
    )
    from demul_mm.visualization.report import write_report

    meta, entries = load_predictions(args.predictions)
    MMLogger.get_current_instance().setLevel('WARNING')
    groups = choose(entries, args)
    durations = {entry['video_id']: entry['duration'] for entry in entries}
    paths = find_videos(args.videos, list(durations)) if args.videos else {}
    if args.pictures:
        write_pictures(groups, paths, args.pictures)
        print(f'{len(groups)} pictures are in {args.pictures}')
    if args.html:
        shown = [entry for own in groups.values() for entry in own]
        write_report(
            args.html,
            title=f'Predictions of {Path(args.predictions).name}',
            metrics=score_entries(MomentRecall(iou_op=args.iou_op), entries),
            videos=report_videos(shown, paths),
            searches=report_searches(shown[:10], durations, paths),
            meta={**meta, 'queries': len(entries), 'videos': len(durations)},
            notice='The features are simulated: these numbers say nothing about real videos.'
            if meta.get('simulated')
            else '',
        )
        print(f'{len(groups)} of {len(durations)} videos are shown in {args.html}')


if __name__ == '__main__':
    run_tool(main)
