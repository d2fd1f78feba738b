"""Importing PyAV, an optional dependency."""

from typing import Any


def import_av() -> Any:
    """The module, or how to get it.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("reading videos needs av: pip install 'demul-mm[video]'") from error
    return av
