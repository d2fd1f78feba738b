"""Say what an index holds, what made it and whether its files are whole.

Examples:
    python tools/index/info.py work_dirs/index
    python tools/index/info.py work_dirs/index --no-verify --json
"""

import argparse
import json

from _index_common import clear_errors, summary

from demul_mm.index import MomentIndex


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('index', help='folder of the index')
    parser.add_argument('--no-verify', action='store_true', help='do not compare checksums')
    parser.add_argument('--json', action='store_true', help='everything, as JSON')
    args = parser.parse_args()
    with clear_errors():
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
    main()
