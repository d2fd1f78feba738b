"""Plain text tables of metrics."""

import json
import os
import re
from collections.abc import Mapping

from demul_mm.files import write_atomically

BESIDE = re.compile(r'^(?P<prefix>(?:.+/)??)(?P<row>floor/[^/]+|oracle)/(?P<key>.+)$')


def split_floors(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Metrics with floors in their keys as rows: 'model', each floor, the oracle.

    ``{'mIoU': 40.0, 'floor/whole_video/mIoU': 30.0}`` becomes
    ``{'model': {'mIoU': 40.0}, 'floor/whole_video': {'mIoU': 30.0}}``.
    """
    rows: dict[str, dict[str, float]] = {'model': {}}
    for key, value in metrics.items():
        match = BESIDE.match(key)
        if match:
            rows.setdefault(match['row'], {})[match['prefix'] + match['key']] = value
        else:
            rows['model'][key] = value
    return rows


def format_table(rows: Mapping[str, Mapping[str, float | str]], decimals: int = 2) -> str:
    """A text table: a row for each name, a column for each metric.

    Args:
        rows: row name to metrics; a metric that a row lacks is shown as '-'.
        decimals: digits after the point; whole numbers (counts) have none, text stays.
    """
    cells = _cells(rows, decimals)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = []
    for line in cells:
        first = line[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        lines.append('  '.join([first, *rest]).rstrip())
    return '\n'.join(lines)


def format_markdown(rows: Mapping[str, Mapping[str, float | str]], decimals: int = 2) -> str:
    """The same table in Markdown."""
    lines = ['| ' + ' | '.join(line) + ' |' for line in _cells(rows, decimals)]
    lines.insert(1, '| --- |' + ' ---: |' * (lines[0].count('|') - 2))
    return '\n'.join(lines)


def write_tables(
    path: str | os.PathLike,
    tables: Mapping[str, Mapping[str, Mapping[str, float | str]]],
    titles: Mapping[str, str],
) -> None:
    """Write named tables: under their titles in Markdown where the path ends in .md, or as JSON."""
    if str(path).endswith('.md'):
        parts = [f'{titles[name]}\n\n{format_markdown(rows)}\n' for name, rows in tables.items()]
        write_atomically(path, '\n'.join(parts))
    else:
        write_atomically(path, json.dumps(tables, indent=1) + '\n')


def _cells(rows: Mapping[str, Mapping[str, float | str]], decimals: int) -> list[list[str]]:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))

    def show(value: float | str) -> str:
        return str(value) if isinstance(value, (int, str)) else f'{value:.{decimals}f}'

    cells = [['', *columns]]
    for name, row in rows.items():
        cells.append([name, *(show(row[key]) if key in row else '-' for key in columns)])
    return cells
