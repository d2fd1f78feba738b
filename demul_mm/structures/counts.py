"""Checking whole numbers that a user gave, and showing values in messages."""

import operator
from typing import Any


def check_count(name: str, value: Any, least: int = 1) -> int:
    """``value``, a whole number of at least ``least``.

    Raises:
        TypeError, ValueError: it is not.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f'{name} is {shown(value)}; give a whole number') from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f'{name} is {value!r}; it must be at least {least}')
    return number


def shown(value: Any) -> str:
    """A value in one line of a message."""
    text = ' '.join(repr(value).split())
    return text if len(text) <= 80 else f'{text[:77]}...'
