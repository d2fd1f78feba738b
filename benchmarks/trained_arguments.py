"""Arguments of the benchmarks that search with a trained model."""

import argparse

from demul_mm.cli import add_config_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`trained.load_trained` reads."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='trained weights')
    parser.add_argument(
        '--with-train',
        action='store_true',
        help='add the videos of the train split to the corpus; no queries are about them',
    )
    parser.add_argument('--queries', type=int, help='their number, chosen by seed (default: all)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', help='where the model runs')
    add_config_options(parser)
