"""Add videos to an index; searches go on meanwhile and see them when all are in.

Killed, it leaves the index as it was; run again with the same arguments it goes on.

Examples:
    python tools/index/add.py work_dirs/index --vectors work_dirs/new_vectors
    python tools/index/add.py work_dirs/index --vectors work_dirs/vectors --on-existing skip
    python tools/index/add.py work_dirs/index configs/demul_demo.py work_dirs/demo/best.pth
"""

from _index_common import (
    add_source_arguments,
    make_source,
    open_for,
    progress_bar,
    summary,
    tell_left_out,
)

from demul_mm.cli import run_tool, tool_parser


def main() -> int:
    parser = tool_parser(__doc__)
    add_source_arguments(parser)
    parser.add_argument(
        '--on-existing',
        choices=['error', 'skip', 'replace'],
        default='error',
        help='what to do with a video that the index holds already (default: %(default)s)',
    )
    args = parser.parse_args()
    source, fingerprints = make_source(args)
    index = open_for(args, fingerprints)
    with progress_bar(len(source.ids()), 'adding') as bar:
        index.add(
            source,
            on_existing=args.on_existing,
            resume=not args.no_resume,
            progress=bar.update,
        )
    print(summary(index))
    return tell_left_out(source)


if __name__ == '__main__':
    run_tool(main)
