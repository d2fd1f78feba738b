"""What the benchmarks that ask a trained model things are given."""

import argparse

from demul_mm.cli import add_config_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What :func:`trained.load_trained` needs."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='trained weights')
    parser.add_argument(
        '--with-train',
        action='store_true',
        help="the corpus also holds the train split's videos (nothing is asked about them)",
    )
    parser.add_argument('--queries', type=int, help='ask so many, chosen by seed (default: all)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', help='where the model runs')
    add_config_options(parser)
