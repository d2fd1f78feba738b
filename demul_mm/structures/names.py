"""Checks of names and texts that a user gave."""

from collections.abc import Iterable


def is_unicode(text: str) -> bool:
    """Whether a text can be written and read again; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_names(names: str | Iterable[str], what: str = 'names') -> list[str]:
    """Strings as a list; one string is one of them, never its letters.

    Args:
        names: ids, sentences, streams or keys.
        what: they are, for the message.

    Raises:
        TypeError: one of them is no string.
    """
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f'{what} holds {name!r}, a {type(name).__name__}; give strings')
    return listed
