"""Say what an index holds, what made it and whether its files are whole.

Examples:
    python tools/index/info.py work_dirs/index
    python tools/index/info.py work_dirs/index --no-verify --json
"""

import json

from _index_common import summary

from demul_mm.cli import run_tool, tool_parser


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('index', help='folder of the index')
    parser.add_argument('--no-verify', action='store_true', help='do not compare checksums')
    parser.add_argument('--json', action='store_true', help='everything, as JSON')
    args = parser.parse_args()
    from demul_mm.index import MomentIndex

    index = MomentIndex.open(args.index, verify=not args.no_verify)
    if args.json:
        print(json.dumps(index.stats(), indent=1))
        return
    print(summary(index))
    for key, value in index.stats().items():
        print(f'  {key}: {value}')
    if not args.no_verify:
        print('  all checksums match')


if __name__ == '__main__':
    run_tool(main)
