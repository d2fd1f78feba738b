"""Plain text tables for the log."""

from collections.abc import Mapping


def format_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """A text table: a row for each name, a column for each metric, two decimals.

    Args:
        rows: row name to metrics; a metric that a row lacks is shown as '-'.
    """
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells = [['', *columns]]
    for name, row in rows.items():
        cells.append([name, *(f'{row[key]:.2f}' if key in row else '-' for key in columns)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns) + 1)]
    lines = []
    for line in cells:
        first = line[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        lines.append('  '.join([first, *rest]).rstrip())
    return '\n'.join(lines)
