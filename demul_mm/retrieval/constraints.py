"""Words that narrow a search down: "later than 0:40", "after that one", "the second time"."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Occurrence = TypeVar('Occurrence')

_ORDINALS = {
    **{word: n for n, word in enumerate(('first', 'second', 'third', 'fourth', 'fifth'), 1)},
    **{f'{n}{end}': n for n, end in enumerate(('st', 'nd', 'rd', *['th'] * 17), 1)},
    'last': -1,
    'final': -1,
}
_TIME = r'(\d+:\d\d(?::\d\d)?(?:\.\d+)?|\d+(?:\.\d+)?)(?:\s*(s|secs?|seconds?|m|mins?|minutes?))?'
_THIS = r'(?:that|this|it)(?: one)?|(?:number |no\. ?|#)(\d+)'
_PLAIN = r'(?<!\bno )(?<!\bnot )'
_LATER = rf'(?:{_PLAIN}(?:later than|after|from)|not (?:before|until)|not? (?:earlier|sooner) than)'
_EARLIER = rf'(?:{_PLAIN}(?:earlier than|before|until)|not after|not? later than)'
# Tried in this order, each taking its words out of the text.
_BETWEEN = re.compile(rf'\bbetween {_TIME} and {_TIME}(?!\w)')
_AFTER_TIME = re.compile(rf'\b{_LATER} {_TIME}(?!\w)')
_BEFORE_TIME = re.compile(rf'\b{_EARLIER} {_TIME}(?!\w)')
_AFTER_THIS = re.compile(rf'\b{_PLAIN}(?:later than|after) (?:{_THIS})(?!\w)')
_BEFORE_THIS = re.compile(rf'\b{_PLAIN}(?:earlier than|before) (?:{_THIS})(?!\w)')
_NTH = rf'second[ -]to[ -]last|{"|".join(_ORDINALS)}'
_ORDINAL = re.compile(rf'\b(?<!\bone )(?:the )?({_NTH})(?: (?:time|one|occurrence|moment))?\b')
_LOOSE_AFTER = re.compile(r'^(?:later|afterwards|after)$')
_LOOSE_BEFORE = re.compile(r'^(?:earlier|before)$')
_NO = re.compile(r'^no[,.;!]\s*')  # anywhere else it may turn round what is said
_FILLER = re.compile(r'\b(?:but|and|the|one|i meant?|it is|please|only|rather|time)\b|[,.;!]')


@dataclass(frozen=True)
class TimeWindow:
    """Only moments that start no earlier and end no later than these seconds of their video."""

    start: float = 0.0
    end: float = float('inf')

    def __str__(self) -> str:
        until = '' if self.end == float('inf') else f' until {self.end:g} s'
        return f'from {self.start:g} s{until}'


@dataclass(frozen=True)
class Relation:
    """Only moments of one video, after or before one that was shown.

    Attributes:
        side: 'after' or 'before'.
        video_id: where that moment is.
        start: where it begins, seconds.
        end: where it ends, seconds.
    """

    side: str
    video_id: str
    start: float
    end: float

    def __str__(self) -> str:
        return f'{self.side} {self.start:g}-{self.end:g} s of {self.video_id}'


@dataclass(frozen=True)
class Ordinal:
    """Only the ``number``-th time that it happens in each video: 1 the first, -1 the last."""

    number: int

    def __str__(self) -> str:
        return 'the last time' if self.number == -1 else f'time {self.number} in its video'


Constraint = TimeWindow | Relation | Ordinal
_KINDS: dict[str, Callable[..., Constraint]] = {
    kind.__name__: kind for kind in (TimeWindow, Relation, Ordinal)
}


def parse_constraints(
    text: str, refer: Callable[[int | None], tuple[str, float, float]]
) -> list[Constraint]:
    """Read what a user says about when the wanted moment is.

    Understood are "later than 0:40", "after 90 s", "before 1:20", "no later than 90 s", "between
    10 and 20 s"; "after that one", "before #3" (of what is shown); "the first", "the second time",
    "the last one"; and several of them together.

    Args:
        text: in English.
        refer: gives video, start and end of a shown moment by its number, or for None of the one
            that "that one" means.

    Raises:
        ValueError: something in the text is not understood.
    """
    rest = _NO.sub('', ' '.join(text.lower().split()))
    found: list[Constraint] = []

    def take(pattern: re.Pattern[str], make: Callable[[re.Match[str]], Constraint]) -> None:
        nonlocal rest
        while match := pattern.search(rest):
            found.append(make(match))
            rest = f'{rest[: match.start()]} {rest[match.end() :]}'

    take(_BETWEEN, lambda m: _window(_seconds(m[1], m[2] or m[4]), _seconds(m[3], m[4] or m[2])))
    take(_AFTER_TIME, lambda m: _window(start=_seconds(m[1], m[2])))
    take(_BEFORE_TIME, lambda m: _window(end=_seconds(m[1], m[2])))
    take(_AFTER_THIS, lambda m: Relation('after', *refer(int(m[1]) if m[1] else None)))
    take(_BEFORE_THIS, lambda m: Relation('before', *refer(int(m[1]) if m[1] else None)))
    take(_ORDINAL, lambda m: Ordinal(_ORDINALS.get(m[1], -2)))
    rest = ' '.join(_FILLER.sub(' ', rest).split())
    # "after the first one" means another moment than the one that was shown.
    if rest not in ('after', 'before') or not any(isinstance(one, Ordinal) for one in found):
        take(_LOOSE_AFTER, lambda m: Relation('after', *refer(None)))
        take(_LOOSE_BEFORE, lambda m: Relation('before', *refer(None)))
    if rest.strip() or not found:
        raise ValueError(
            f'{rest.strip() or text!r} is not understood in {text!r}; say for example "later than '
            '0:40", "before 1:20", "between 10 and 20 s", "after that one", "before #3", "the '
            'second time", "the last one"'
        )
    return found


def _seconds(number: str, unit: str | None) -> float:
    seconds = 0.0
    for part in number.split(':'):
        seconds = 60 * seconds + float(part)
    return seconds * 60 if unit and unit.startswith('m') and ':' not in number else seconds


def _window(start: float = 0.0, end: float = float('inf')) -> TimeWindow:
    if end <= start:
        raise ValueError(f'from {start:g} s until {end:g} s there is nothing; give start < end')
    return TimeWindow(start, end)


def passes(constraint: Constraint, video_id: str, start: float, end: float) -> bool:
    """Whether a moment keeps to a constraint that looks at it alone."""
    if isinstance(constraint, TimeWindow):
        return start >= constraint.start and end <= constraint.end
    if isinstance(constraint, Relation):
        # A border may lie a little inside: moments are found to about a tenth of their length.
        slack = 0.1 * (end - start)
        clear = (
            start >= constraint.end - slack
            if constraint.side == 'after'
            else end <= constraint.start + slack
        )
        return video_id == constraint.video_id and clear
    return True


def occurrence(
    moments: Sequence[Occurrence],
    span: Callable[[Occurrence], tuple[float, float]],
    strength: Callable[[Occurrence], float],
    number: int,
    tolerance: float,
) -> Occurrence | None:
    """The ``number``-th occurrence among the moments of one video.

    Occurrences are moments that do not overlap (the stronger stays) and are at most ``tolerance``
    weaker than the strongest; they are counted in time.

    Args:
        moments: those of one video, in any order.
        span: start and end of one.
        strength: weight of one constraint.
        number: 1 the first, -1 the last.
        tolerance: in units of ``strength``.

    Returns:
        None if it did not happen so often.
    """
    ranked = sorted(moments, key=lambda m: -strength(m))
    kept: list[Occurrence] = []
    for moment in ranked:
        if strength(moment) < strength(ranked[0]) - tolerance:
            break
        start, end = span(moment)
        if all(end <= span(k)[0] or start >= span(k)[1] for k in kept):
            kept.append(moment)
    kept.sort(key=span)
    place = number - 1 if number > 0 else len(kept) + number
    return kept[place] if 0 <= place < len(kept) else None


def to_json(constraint: Constraint) -> dict[str, Any]:
    """As JSON values; infinity as None."""
    values = {k: None if v == float('inf') else v for k, v in vars(constraint).items()}
    return dict(kind=type(constraint).__name__, **values)


def from_json(values: dict[str, Any]) -> Constraint:
    """What :func:`to_json` gave."""
    rest = {k: float('inf') if v is None else v for k, v in values.items() if k != 'kind'}
    return _KINDS[values['kind']](**rest)
