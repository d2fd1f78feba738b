"""Posting JSON to a webhook, which may be slow, broken or gone."""

import json
import re
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from demul_mm.version import __version__

# Seconds that an address may take to answer, and between two tries.
TIMEOUT = 10
PAUSES = (1.0, 4.0)
# Answers after which the same may be taken, and those that are about the address: not allowed,
# gone, moved. Others below 500 are about what was posted.
LATER = (408, 425, 429)
CLOSED = (401, 402, 403, 404, 405, 407, 410)


class RefusedError(OSError):
    """The address rejected this content; it may accept other content."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: the POST would become a GET without content, and count as delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def check_address(address: str) -> None:
    """Whether it can be posted to.

    Raises:
        ValueError: it is none of http or https, or none at all.
    """
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ('http', 'https') and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not re.fullmatch(r'[!-~]+', address) or '@' in parts.netloc:
        raise ValueError(
            f'webhook {address!r}: give an address that begins with https://, without spaces, '
            'letters outside ASCII, or a user name'
        )


def post(
    address: str,
    content: Any,
    pauses: tuple[float, ...] = PAUSES,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Post JSON; what may be better in a moment is tried again.

    Args:
        pauses: seconds before each further try.

    Raises:
        RefusedError: the address answered that it does not want this.
        OSError: it did not take it; the message does not hold the address, which is often a secret,
            but for the host.
    """
    headers = {'Content-Type': 'application/json', 'User-Agent': f'demul/{__version__}'}
    request = urllib.request.Request(address, json.dumps(content).encode(), headers)
    for pause in (*pauses, None):
        try:
            with _opener.open(request, timeout=TIMEOUT):
                return
        except (OSError, HTTPException) as error:
            status = error.code if isinstance(error, HTTPError) else 500
            final = status < 500 and status not in LATER
            if pause is None or final:
                host = urlsplit(address).hostname
                about_this = final and status >= 400 and status not in CLOSED
                kind = RefusedError if about_this else OSError
                raise kind(f'{host} did not take it ({_reason(error)})') from error
            wait(pause)


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError) and 300 <= error.code < 400:
        return f'moved to {error.headers.get("Location")}: add the alert with that address'
    cause = getattr(error, 'reason', error)  # what urllib has wrapped
    text = str(error if isinstance(error, HTTPError) else cause)
    return ' '.join(text.split()) or type(error).__name__
