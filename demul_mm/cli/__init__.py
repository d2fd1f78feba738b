"""What the command line tools share: parsers, configs with options, launch, clear errors.

A tool parses its arguments before it imports what is heavy, so that ``--help`` and mistakes are
answered at once: nothing here imports torch before it is called, but :mod:`demul_mm.cli.launch`
and :mod:`demul_mm.cli.options`.
"""

from demul_mm.cli.config import load_config
from demul_mm.cli.entry import run_tool
from demul_mm.cli.parser import add_config_options, add_launcher, tool_parser

__all__ = ['add_config_options', 'add_launcher', 'load_config', 'run_tool', 'tool_parser']
