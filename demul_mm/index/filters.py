"""Which videos a search may return."""

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demul_mm.index.snapshot import Snapshot
from demul_mm.structures.names import as_names

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    '==': operator.eq,
    '!=': operator.ne,
    '>=': operator.ge,
    '<=': operator.le,
    '>': operator.gt,
    '<': operator.lt,
    'has': lambda value, wanted: wanted in value,
    'in': lambda value, wanted: value in wanted,
}
_CONDITION = re.compile(r'^\s*([\w.-]+)\s*(==|!=|>=|<=|>|<|\bhas\b|\bin\b)\s*(.+?)\s*$')


@dataclass(frozen=True)
class SearchFilter:
    """A subset of the videos; what is given must all hold.

    A video without the metadata that a condition names does not meet it.

    Attributes:
        video_ids: only these; ids that the index does not hold are ignored.
        excluded_ids: never these.
        conditions: ``(key, operator, value)`` on metadata, the operator one of ``== != >= <= > <
            has in``: ``('date', '>=', '2024-05-01')`` (ISO dates compare as text), ``('tags',
            'has', 'cooking')``, ``('channel', 'in', ['a', 'b'])``.
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
            if name not in _COMPARE:
                raise ValueError(
                    f'the condition on {key!r} uses {name!r}; operators are {" ".join(_COMPARE)}'
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
        for key, name, wanted in self.conditions:
            compare = _COMPARE[name]
            values = snapshot.column(key)
            for ordinal in np.flatnonzero(allowed):
                value = values[ordinal]
                try:
                    allowed[ordinal] = value is not None and compare(value, wanted)
                except TypeError:
                    raise ValueError(
                        f'{key!r} of video {snapshot.video_ids(np.array([ordinal]))[0]!r} is '
                        f'{value!r}, which cannot be compared by {name!r} with {wanted!r}'
                    ) from None
        if self.predicate is not None:
            passes = (self.predicate(values) for values in snapshot.metadata())
            allowed &= np.fromiter(passes, bool, snapshot.num_videos)
        return allowed


def parse_condition(text: str) -> tuple[str, str, Any]:
    """A condition as typed: ``date>=2024-05-01``, ``tags has cooking``, ``views > 100``.

    The value is a number if it looks like one; ``in`` takes a comma-separated list.
    """
    match = _CONDITION.match(text)
    if not match:
        raise ValueError(
            f'{text!r} is no condition; write KEY OPERATOR VALUE, the operator one of '
            f'{" ".join(_COMPARE)}, e.g. "tags has cooking"'
        )
    key, name, raw = match.groups()
    value = [_number(part) for part in raw.split(',')] if name == 'in' else _number(raw)
    return key, name, value


def _number(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
