"""Reading annotation files with errors that say where."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from demul_mm.datasets.annotations import AnnotationError, RawQuery
from demul_mm.files import NotText, open_text


@contextmanager
def _open(path: str, newline: str | None = None) -> Iterator[TextIO]:
    """An annotation file to read; that it is no text is an error of annotations."""
    try:
        with open_text(path, newline) as file:
            yield file
    except NotText as error:
        raise AnnotationError(str(error)) from error


def read_csv(path: str, columns: set[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """``('line <number>', row)`` of a CSV file with a header.

    Raises:
        AnnotationError: a column is missing.
    """
    with _open(path, newline='') as file:
        reader = csv.DictReader(file)
        missing = columns - set(reader.fieldnames or ())
        if missing:
            raise AnnotationError(f'{path}: column {sorted(missing)[0]!r} is missing')
        for row in reader:
            yield f'line {reader.line_num}', row


def read_json(path: str, kind: type) -> Any:
    """The content of a JSON file, whose top level must be of ``kind`` (dict or list).

    Raises:
        AnnotationError: it is not JSON, or not of that kind.
    """
    with _open(path) as file:
        text = file.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise AnnotationError(f'{path}: not valid JSON ({error}); download it again') from error
    if not isinstance(content, kind):
        raise AnnotationError(
            f'{path}: the top level is a {type(content).__name__}, expected a {kind.__name__}; '
            'is it the file of another data set?'
        )
    return content


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """``('line <number>', text)`` for every line that is not blank."""
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f'line {number}', line.rstrip('\r\n')


def parse_json_line(line: str, path: str, where: str) -> dict:
    """The JSON object that ``line`` holds.

    Raises:
        AnnotationError: it is not a JSON object.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise AnnotationError(
            f'{path}: {where}: not valid JSON ({error}); write one JSON object a line'
        ) from error
    if not isinstance(row, dict):
        raise AnnotationError(
            f'{path}: {where}: a {type(row).__name__}, expected one JSON object a line'
        )
    return row


def read_jsonl(path: str) -> Iterator[tuple[str, dict]]:
    """``('line <number>', object)`` for every line that is not blank."""
    for where, line in read_lines(path):
        yield where, parse_json_line(line, path, where)


def entry(row: Any, key: str, path: str, where: str, kind: type | tuple = object) -> Any:
    """``row[key]``, checked.

    Raises:
        AnnotationError: the key is missing, or its value is not of ``kind``, or no float holds it.
    """
    if not isinstance(row, dict):
        raise AnnotationError(f'{path}: {where}: a {type(row).__name__}, expected an object')
    if key not in row:
        raise AnnotationError(
            f'{path}: {where}: key {key!r} is missing (keys given: {", ".join(sorted(row))}); '
            'add it, or choose the data set class that this file belongs to'
        )
    value = row[key]
    if kind is not object and (not isinstance(value, kind) or isinstance(value, bool)):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = ' or '.join(k.__name__ for k in kinds)
        raise AnnotationError(f'{path}: {where}: {key!r} is {value!r}, expected {names}')
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise AnnotationError(
            f'{path}: {where}: {key!r} is a number of {len(str(abs(value)))} digits, which is '
            'beyond what can be computed with'
        )
    return value


def sentences_with_times(row: dict, video_id: str, path: str, fps: float = 1.0) -> list[RawQuery]:
    """The queries of a ``{timestamps, sentences}`` entry; times are divided by ``fps``."""
    where = f'video {video_id}'
    times = entry(row, 'timestamps', path, where, list)
    texts = entry(row, 'sentences', path, where, list)
    if len(times) != len(texts):
        raise AnnotationError(
            f'{path}: {where}: {len(times)} timestamps but {len(texts)} sentences; '
            'there must be one of each for every query'
        )
    queries = []
    for index, (span, text) in enumerate(zip(times, texts)):
        place = f'{where}, sentence {index}'
        try:
            start, end = (value / fps for value in span)
        except (TypeError, ValueError) as error:
            raise AnnotationError(
                f'{path}: {place}: timestamp {span!r}, expected [start, end]'
            ) from error
        queries.append(RawQuery(f'{video_id}#{index}', text, [[start, end]], place))
    return queries
