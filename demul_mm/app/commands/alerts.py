"""Commands about sentences that every new video is searched for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    Verbose,
    Weights,
    make_encoder,
)

alerts = typer.Typer(help='Sentences that every new video is asked.', no_args_is_help=True)


@alerts.command('add')
def add_alert(
    sentence: Annotated[str, typer.Argument(help='What is looked for.')],
    threshold: Annotated[
        float,
        typer.Option(help='Least probability with a trained DeMUL, least cosine with another.'),
    ],
    file: Annotated[
        Path | None, typer.Option(help='Add a line of JSON to this file for each moment.')
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help='Post each moment to this address, as JSON.')
    ] = None,
    old: Annotated[bool, typer.Option('--old', help='Ask the videos too that are there.')] = False,
    index: Index = DEFAULT_INDEX,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask every video that is added; without a file or an address a line is printed."""
    added = _alerts(index, None).add(sentence, threshold, file, webhook, old)
    show.facts(added._asdict(), json)


@alerts.command('list')
def list_alerts(index: Index = DEFAULT_INDEX, json: Json = False, debug: Debug = False) -> None:
    """What every new video is asked."""
    show.table([alert._asdict() for alert in _alerts(index, None).all()], json)


@alerts.command('remove')
def remove_alert(
    number: Annotated[int, typer.Argument(help='As list shows it.')],
    index: Index = DEFAULT_INDEX,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask it no more."""
    _alerts(index, None).remove(number)
    if json:
        show.facts(dict(removed=number), json)


@alerts.command('run')
def run_alerts(
    index: Index = DEFAULT_INDEX,
    encoder: Encoder = None,
    weights: Weights = None,
    device: Device = None,
    offline: Offline = False,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Ask the videos that were not asked yet; index does so after each update."""
    show.set_logging(True, verbose)
    found = _alerts(index, make_encoder(encoder, device, offline, verbose, weights))
    show.events(found.run((lambda event: None) if json else show.event), json)


def _alerts(index: Path, make: Any) -> Any:
    """The standing queries of a library."""
    from demul_mm.app.alerts import Alerts
    from demul_mm.app.library import Library

    return Alerts(Library.open(index, make))
