"""Make what configs/demul_youcook2_transcripts_cv.py reads of published transcripts.

The source is the folder youcook2 of https://github.com/frankxu2004/cooking-procedural-extraction:

    reviewed_0812.csv        what is said, a row for each sentence, and when it begins
    urlsegmentcaption.txt    <url> <start> <end> <sentence> of each step, with tabs between
    clip_manifest_10s.txt    <clip> <video> <start> <end>; the last end is the length of the video

Of each video that all three have, DATA/annotations/videos.jsonl gets a line; what is said lasts
until the next sentence begins, at most 12 s. The videos are those that the figures in
docs/benchmarks.md are of (cv_videos.sha1), or, with --all, every one.

Examples:
    git clone --depth 1 https://github.com/frankxu2004/cooking-procedural-extraction
    python tools/data/youcook2/prepare_cv.py cooking-procedural-extraction/youcook2
    python tools/data/youcook2/prepare_cv.py youcook2/ --data /mnt/youcook2 --all
"""

import argparse
import hashlib
import json
from pathlib import Path

from demul_mm.cli import run_tool, tool_parser

LONGEST = 12.0  # seconds that a sentence lasts at most
VIDEOS = Path(__file__).with_name('cv_videos.sha1')
COLUMNS = {'VideoUrl', 'TimeStamp', 'Sentence'}


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('source', type=Path, help='the folder youcook2')
    parser.add_argument(
        '--data', type=Path, default=Path('data/youcook2'), help='default: data/youcook2'
    )
    parser.add_argument(
        '--videos',
        default=VIDEOS,
        help='first 8 digits of the SHA-1 of each id, a line each (default: cv_videos.sha1)',
    )
    parser.add_argument('--all', action='store_true', help='all videos')
    return parser.parse_args()


def id_of(url: str) -> str:
    return url.strip().partition('?v=')[2]


def seconds_of(stamp: str, where: str) -> float:
    """Of ``01:02.5``, or ``0:01:02`` as a spreadsheet writes whole seconds."""
    try:
        parts = [float(part) for part in stamp.split(':')]
    except ValueError:
        raise ValueError(f'{where}: time {stamp!r}, expected minutes:seconds') from None
    return round(sum(part * 60**place for place, part in enumerate(reversed(parts))), 1)


def read_speech(path: str) -> dict[str, list[tuple[float, str]]]:
    """When each sentence begins, by video."""
    from demul_mm.datasets.reading import read_csv

    said: dict[str, list[tuple[float, str]]] = {}
    for where, row in read_csv(path, COLUMNS):
        begins = seconds_of(row['TimeStamp'], f'{path}: {where}')
        said.setdefault(id_of(row['VideoUrl']), []).append((begins, row['Sentence'].strip()))
    return said


def read_steps(path: str) -> dict[str, list[tuple[float, float, str]]]:
    """Start, end and sentence of each step, by video."""
    from demul_mm.datasets.reading import read_lines

    steps: dict[str, list[tuple[float, float, str]]] = {}
    for where, line in read_lines(path):
        try:
            url, start, end, text = line.split('\t')
            step = float(start), float(end), text.strip()
        except ValueError:
            raise ValueError(
                f'{path}: {where}: {line[:60]!r}, expected url, start, end, text'
            ) from None
        steps.setdefault(id_of(url), []).append(step)
    return steps


def read_lengths(path: str) -> dict[str, float]:
    """Seconds of each video."""
    from demul_mm.datasets.reading import read_lines

    lengths: dict[str, float] = {}
    for where, line in read_lines(path):
        try:
            _, video, _, end = line.split()
            lengths[video] = max(lengths.get(video, 0.0), round(float(end), 2))
        except ValueError:
            raise ValueError(
                f'{path}: {where}: {line[:60]!r}, expected clip, video, start, end'
            ) from None
    return lengths


def subtitles(said: list[tuple[float, str]], length: float) -> list[tuple[float, float, str]]:
    """Each with its end."""
    said = sorted(one for one in said if one[0] < length)
    ends = [start for start, _ in said[1:]] + [length]
    shown = [
        (start, min(end, round(start + LONGEST, 2)), text) for (start, text), end in zip(said, ends)
    ]
    return [one for one in shown if one[0] < one[1] and one[2]]


def main() -> int:
    args = parse_args()
    from demul_mm.files import read_list, write_atomically

    said = read_speech(str(args.source / 'reviewed_0812.csv'))
    steps = read_steps(str(args.source / 'urlsegmentcaption.txt'))
    lengths = read_lengths(str(args.source / 'clip_manifest_10s.txt'))
    listed = set(read_list(args.videos))
    wanted = {
        video
        for video in said
        if args.all or hashlib.sha1(video.encode()).hexdigest()[:8] in listed
    }
    videos = sorted(wanted & steps.keys() & lengths.keys())
    if not videos:
        raise ValueError(f'{args.source}: no video has speech, steps and a length there')
    rows, queries, beyond = [], 0, 0
    for video in videos:
        known = [step for step in steps[video] if 0 <= step[0] < step[1] <= lengths[video]]
        named = [
            dict(query_id=f'{video}#{number}', query=text, spans=[[start, end]])
            for number, (start, end, text) in enumerate(known)
        ]
        queries += len(named)
        beyond += len(steps[video]) - len(known)
        speech = subtitles(said[video], lengths[video])
        row = dict(video_id=video, duration=lengths[video], queries=named, subtitles=speech)
        rows.append(json.dumps(row, ensure_ascii=False))
    write_atomically(args.data / 'annotations' / 'videos.jsonl', '\n'.join([*rows, '']))
    print(f'{len(videos):,} videos, {queries:,} queries')
    print(f'left out: {len(wanted) - len(videos):,} videos, {beyond:,} steps outside of theirs')
    return 0


if __name__ == '__main__':
    run_tool(main)
