"""Build an index of a corpus.

Killed, it leaves the folder as it was; run again with the same arguments it goes on.

Examples:
    python tools/index/build.py work_dirs/index configs/demul_demo.py work_dirs/demo/best.pth
    python tools/index/build.py work_dirs/index --vectors work_dirs/vectors
    python tools/index/build.py work_dirs/index --vectors work_dirs/vectors --backend MilvusIndex
    python tools/index/build.py work_dirs/index --vectors work_dirs/vectors \\
        --options kind=ivf_pq num_prototypes=8 level2=fp16
"""

from _index_common import add_source_arguments, make_source, progress_bar, summary, tell_left_out

from demul_mm.cli import run_tool, tool_parser
from demul_mm.cli.parser import Options
from demul_mm.registry import INDEXES


def main() -> int:
    parser = tool_parser(__doc__)
    add_source_arguments(parser)
    parser.add_argument(
        '--backend', default='FaissIndex', help='FaissIndex, MilvusIndex or ExactIndex'
    )
    parser.add_argument(
        '--options', nargs='+', action=Options, default={}, help='of the backend, as kind=hnsw'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an index that is there')
    args = parser.parse_args()
    source, fingerprints = make_source(args)
    index = INDEXES.build(dict(type=args.backend, path=args.index, **fingerprints, **args.options))
    with progress_bar(len(source.ids()), 'building') as bar:
        index.build(
            source, resume=not args.no_resume, overwrite=args.overwrite, progress=bar.update
        )
    print(summary(index))
    return tell_left_out(source)


if __name__ == '__main__':
    run_tool(main)
