"""Parsers of the tools: what all show, and options that several have."""

import argparse
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


class Listed(list):
    """A list that was written without brackets, which may have been meant as one text.

    Attributes:
        text: it as it was typed.
    """

    text: str = ''


class Options(argparse.Action):
    """Reads words ``KEY=VALUE`` into a dict, values as mmengine's ``DictAction`` does.

    Other than there, spaces inside a value stay, and a value in quotes, which are not round a list
    in brackets, is one text.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for word in values:
            key, equals, value = word.partition('=')
            if not equals:
                raise argparse.ArgumentError(self, f'{word!r} has no value, give KEY=VALUE')
            try:
                options[key] = _read(value.strip())
            except ValueError as error:
                raise argparse.ArgumentError(self, f'{word!r}: {error}') from error
        setattr(namespace, self.dest, options)


def _read(text: str) -> Any:
    inside = text[1:-1]
    quoted = text[:1] in ('"', "'") and text[0] == text[-1] and text[0] not in inside
    return inside if quoted and _closed(inside) is None else _read_bare(text)


def _read_bare(text: str) -> Any:
    """The value, or an item of it: quotes at its ends are not part of it."""
    text = text.strip('\'" ')
    kind = _closed(text)
    if kind is not None:
        return kind(_items(_split(text[1:-1])))
    parts = _split(text) if ',' in text else [text]
    if len(parts) == 1:
        return DictAction._parse_int_float_bool(text)
    listed = Listed(_items(parts))
    listed.text = text
    return listed


def _closed(text: str) -> type[list] | type[tuple] | None:
    """What brackets at both ends make of it."""
    kinds: dict[str, type[list] | type[tuple]] = {'[]': list, '()': tuple}
    return kinds.get(text[:1] + text[-1:])


def _split(text: str) -> list[str]:
    """What stands between commas, but those within brackets."""
    parts, depth, begin = [], 0, 0
    for place, char in enumerate(text):
        depth += (char in '([') - (char in ')]')
        if char == ',' and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
        if depth < 0:
            break
    if depth:
        raise ValueError('brackets do not match; a text is put in quotes, as KEY="a,b"')
    return [*parts, text[begin:]]


def _items(parts: Sequence[str]) -> list[Any]:
    """The values of a list, whose last comma may have none behind it."""
    return [_read_bare(part) for part in (parts if parts[-1].strip() else parts[:-1])]


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
    parser.add_argument('--debug', action='store_true', help='show the traceback of every error')
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override settings of the config, for example train_dataloader.batch_size=8; '
        'a list is written key="[a,b]" or key=a,b, a text with commas in quotes that the shell '
        'leaves, \'key="a,b"\'. features=configs/_base_/features/X.py reads '
        'other features. What would change nothing is refused',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and torch's own ``--local-rank``."""
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
