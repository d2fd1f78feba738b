"""Remove videos from an index, or give back the space of those that were removed.

Examples:
    python tools/index/remove.py work_dirs/index v_abc v_def
    python tools/index/remove.py work_dirs/index --ids withdrawn.txt --ignore-missing
    python tools/index/remove.py work_dirs/index --compact
"""

from pathlib import Path

from _index_common import summary

from demul_mm.cli import run_tool, tool_parser
from demul_mm.files import read_list


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('index', help='folder of the index')
    parser.add_argument('video_ids', nargs='*', help='videos to remove')
    parser.add_argument('--ids', type=Path, help='text file with one id a line')
    parser.add_argument(
        '--ignore-missing', action='store_true', help='remove the others if some are not there'
    )
    parser.add_argument(
        '--compact', action='store_true', help='write the index anew without removed videos'
    )
    args = parser.parse_args()
    from demul_mm.index import MomentIndex

    video_ids = args.video_ids + (read_list(args.ids) if args.ids else [])
    if not video_ids and not args.compact:
        raise ValueError('give video ids, --ids FILE or --compact')
    index = MomentIndex.open(args.index)
    if video_ids:
        missing = 'ignore' if args.ignore_missing else 'error'
        print(f'{index.remove(video_ids, missing=missing)} videos removed')
    if args.compact:
        index.compact()
    print(summary(index))


if __name__ == '__main__':
    run_tool(main)
