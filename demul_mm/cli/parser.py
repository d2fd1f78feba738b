"""Parsers of the tools: what all show, and options that several have."""

import argparse

from mmengine.config import DictAction

from demul_mm.cli.entry import DEBUG_VARIABLE

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def tool_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows examples after the options, and knows ``--debug``.

    Args:
        description: the tool's docstring, which ends in examples under a line ``Examples:``.
    """
    what, _, examples = (description or '').partition('\nExamples:\n')
    assert examples, 'the docstring of a tool ends in examples'
    parser = argparse.ArgumentParser(
        description=what.rstrip(),
        epilog=f'examples:\n{examples.rstrip()}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--debug',
        action='store_true',
        help=f'show the traceback of every error (also: {DEBUG_VARIABLE}=1)',
    )
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, for example train_dataloader.batch_size=8; '
        'a list is written key="[a,b]" or key=a,b. features=configs/_base_/features/X.py reads '
        'other features. What would change nothing is refused',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and torch's own ``--local-rank``."""
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
