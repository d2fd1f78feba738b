"""Serving until it is stopped."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from demul_mm.server.api import create_app
from demul_mm.server.service import Service


def serve(
    service: Service, host: str, port: int, token: str | None, tell: Callable[[str], None]
) -> None:
    """Answer requests until the process is told to stop.

    Args:
        host: address or name to bind to; other computers can ask unless it is one of this one's
            own, and must have a token then.
        port: 0: any that is free.
        token: made if it is needed and not given.
        tell: called with the address to open, once it can be opened.

    Raises:
        ValueError: the address cannot be bound, the token is no good one, or the encoder is not
            that of the library.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    if token is not None and not re.fullmatch(r'[\w.~-]{16,256}', token, re.ASCII):
        raise ValueError('the token must have 16 to 256 letters, digits, or any of - . _ ~')
    try:
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f'{host}:{port} cannot be bound ({error}); choose another --port'
        ) from None
    service.warm_up()
    app = create_app(service, host, token)
    config = uvicorn.Config(
        app, log_level='warning', server_header=False, timeout_graceful_shutdown=2
    )
    shown = f'[{host}]' if ':' in host else host
    with listening:
        query = f'?token={token}' if token else ''
        tell(f'http://{shown}:{listening.getsockname()[1]}/{query}')
        with suppress(KeyboardInterrupt):  # is how it ends
            uvicorn.Server(config).run(sockets=[listening])


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'
