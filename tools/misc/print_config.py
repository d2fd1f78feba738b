"""Print a config as a run would see it: with its bases and the given options.

Examples:
    python tools/misc/print_config.py configs/demul_anet.py
    python tools/misc/print_config.py configs/demul_anet.py --cfg-options train_cfg.max_epochs=5
"""

import argparse

from demul_mm.cli import add_config_options, load_config, run_tool, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(load_config(args.config, args.cfg_options).pretty_text)


if __name__ == '__main__':
    run_tool(main)
