"""Commands that offer a library to browsers, programs and language models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from demul_mm.app import show
from demul_mm.app.commands.options import (
    DEFAULT_INDEX,
    Debug,
    Device,
    Encoder,
    Index,
    Json,
    Offline,
    Quiet,
    Verbose,
    Weights,
    make_encoder,
    need,
)


def serve(
    index: Index = DEFAULT_INDEX,
    host: Annotated[
        str, typer.Option(help='Address to bind to; other than this computer, a token is asked.')
    ] = '127.0.0.1',
    port: Annotated[int, typer.Option(min=0, max=65535, help='0: any that is free.')] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar='DEMUL_TOKEN', help='Ask for this token.')
    ] = None,
    allow: Annotated[
        list[Path] | None,
        typer.Option(help='Folder below which folders may be added from the page; repeat.'),
    ] = None,
    encoder: Encoder = None,
    weights: Weights = None,
    device: Device = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Open the library in a browser: a page, and REST (see /openapi.json)."""
    need('web', 'fastapi', 'uvicorn')
    from demul_mm.server import run
    from demul_mm.server.service import Service

    show.set_logging(quiet, verbose)
    make = make_encoder(encoder, device, offline, verbose, weights)
    service = Service(index, make, allow or (), partial(show.event, as_json=json))
    run.serve(service, host, port, token, partial(show.address, as_json=json))


def mcp(
    index: Index = DEFAULT_INDEX,
    clips: Annotated[Path, typer.Option(help='Folder that cuts are written to.')] = Path(
        'demul_clips'
    ),
    encoder: Encoder = None,
    weights: Weights = None,
    device: Device = None,
    offline: Offline = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Offer search, ask and cut to a language model, on stdin and stdout (MCP)."""
    need('mcp', 'mcp')
    from demul_mm.server.mcp_tools import create_mcp
    from demul_mm.server.service import Service

    show.set_logging(True, verbose)
    service = Service(index, make_encoder(encoder, device, offline, verbose, weights))
    try:
        create_mcp(service, clips).run()
    finally:
        service.close()
