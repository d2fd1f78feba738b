"""Which videos a search may return."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demul_mm.index.snapshot import Snapshot
from demul_mm.structures.names import as_names

_COMPARE = {
    '==': pc.equal,
    '!=': pc.not_equal,
    '>=': pc.greater_equal,
    '<=': pc.less_equal,
    '>': pc.greater,
    '<': pc.less,
}
OPERATORS = (*_COMPARE, 'has', 'in')
_WHOLE = re.compile(r'-?\d+')
_CONDITION = re.compile(r'^\s*([\w.-]+)\s*(==|!=|>=|<=|>|<|\bhas\b|\bin\b)\s*(.+?)\s*$')


@dataclass(frozen=True)
class SearchFilter:
    """A subset of the videos; what is given must all hold.

    A video without the metadata that a condition names does not meet it. Metadata has the types of
    JSON: text stays text though it looks like a number, and a number is never compared with text.

    Attributes:
        video_ids: only these; ids that the index does not hold are ignored. A string is one id.
        excluded_ids: never these.
        conditions: ``(key, operator, value)`` on metadata, the operator one of ``== != >= <= > <
            has in``: ``('date', '>=', '2024-05-01')`` (ISO dates compare as text), ``('tags',
            'has', 'cooking')``, ``('channel', 'in', ['a', 'b'])``. Text is read as what the
            metadata holds: ``('live', '==', 'true')``.
        predicate: a function of a video's metadata (``{}`` where it has none); looks at every
            video at every search, so prefer conditions.
    """

    video_ids: Collection[str] | None = None
    excluded_ids: Collection[str] = ()
    conditions: Sequence[tuple[str, str, Any]] = field(default_factory=tuple)
    predicate: Callable[[Mapping[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        for key, name, wanted in self.conditions:
            if name == 'in' and isinstance(wanted, str):
                raise ValueError(f"the condition on {key!r}: 'in' needs a list, as [{wanted!r}]")
            if name not in OPERATORS:
                raise ValueError(
                    f'the condition on {key!r} uses {name!r}; operators are {" ".join(OPERATORS)}'
                )

    def mask(self, snapshot: Snapshot) -> np.ndarray:
        """``(num_videos,)`` bool over ordinals; removed videos may be True."""
        allowed = np.ones(snapshot.num_videos, bool)
        if self.video_ids is not None:
            found = snapshot.find(as_names(self.video_ids, 'video_ids'))
            allowed[:] = False
            allowed[found[found >= 0]] = True
        if self.excluded_ids:
            found = snapshot.find(as_names(self.excluded_ids, 'excluded_ids'))
            allowed[found[found >= 0]] = False
        for condition in self.conditions:
            allowed &= meets(snapshot.column(condition[0]), *condition)
        if self.predicate is not None:
            passes = (self.predicate(values) for values in snapshot.metadata)
            allowed &= np.fromiter(passes, bool, snapshot.num_videos)
        return allowed


def meets(column: pa.Array, key: str, operator: str, wanted: Any) -> np.ndarray:
    """Which values of ``column`` meet a condition; null never does.

    Raises:
        ValueError: the value is of another type than the column.
    """
    kind, test = column.type, operator
    if operator == 'has' and pa.types.is_list(kind):
        kind, test = kind.value_type, '=='
    try:
        if operator == 'in':
            values = [_typed(value, kind) for value in wanted]
            found = pc.is_in(column, value_set=pa.array(values, kind))
            found = pc.and_(found, pc.is_valid(column))
        elif operator == 'has' and kind is column.type:
            found = pc.match_substring(column, _typed(wanted, pa.string()).as_py())
        elif operator == 'has':
            same = pc.equal(pc.list_flatten(column), _typed(wanted, kind))
            found = np.zeros(len(column), bool)
            found[pc.list_parent_indices(column).filter(same).to_numpy()] = True
            return found
        else:
            found = _COMPARE[test](column, _typed(wanted, kind))
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(
            f'metadata {key!r} is of type {column.type}, which cannot be compared by {operator!r} '
            f'with {wanted!r} ({error})'
        ) from None
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


def _typed(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A value of a condition in the type of its column: text is read, a number stays one."""
    given = pa.scalar(value)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if pa.types.is_string(given.type) and number:
        return given.cast(pa.float64() if not _WHOLE.fullmatch(value) else kind)
    if pa.types.is_string(given.type) or given.type == kind:
        return given.cast(kind)
    if number and (pa.types.is_integer(given.type) or pa.types.is_floating(given.type)):
        return given  # Arrow compares 3 with 2.5
    raise TypeError(f'{value!r} is of type {given.type}')


def parse_condition(text: str) -> tuple[str, str, Any]:
    """A condition as typed: ``date>=2024-05-01``, ``tags has cooking``, ``views > 100``.

    The value is read as what the metadata holds; ``in`` takes a comma-separated list.
    """
    match = _CONDITION.match(text)
    if not match:
        raise ValueError(
            f'{text!r} is no condition; write KEY OPERATOR VALUE, the operator one of '
            f'{" ".join(OPERATORS)}, e.g. "tags has cooking"'
        )
    key, name, raw = match.groups()
    return key, name, [part.strip() for part in raw.split(',')] if name == 'in' else raw
