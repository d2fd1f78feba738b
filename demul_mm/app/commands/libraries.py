"""Commands that make a library and say what it holds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

# Seconds that a watch waits for addresses that alerts are posted to.
PATIENCE = 1.0

if TYPE_CHECKING:
    from demul_mm.app.alerts import Alerts, Event
    from demul_mm.app.library import Report


def index(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, video files and globs ('films/**/*.mp4'); none: those given before."
        ),
    ] = None,
    index: Index = DEFAULT_INDEX,
    encoder: Encoder = None,
    weights: Weights = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.02,
            max=3600,
            help='Between the frames that are seen, of a new library.',
            show_default='1.0',
        ),
    ] = None,
    shots: Annotated[
        bool, typer.Option('--shots', help='Moments keep to shots, of a new library.')
    ] = False,
    milvus: Annotated[
        str | None,
        typer.Option(
            help='Address of a Milvus server that keeps the index of a new library, '
            'http://HOST:19530; its token is MILVUS_TOKEN.'
        ),
    ] = None,
    speech: Annotated[
        str | None,
        typer.Option(
            help='Write down what is said where there are no subtitles, by a Whisper model for '
            'faster-whisper: a folder, or a name on huggingface.co.'
        ),
    ] = None,
    watch: Annotated[bool, typer.Option('--watch', help='Go on as the folders change.')] = False,
    every: Annotated[float, typer.Option(min=0.1, help='Seconds between two looks.')] = 5.0,
    retry: Annotated[
        bool, typer.Option('--retry', help='Try files again that were broken before.')
    ] = False,
    forget: Annotated[
        list[Path] | None,
        typer.Option(
            help='Take a folder, file or glob out of the library, with its videos: below a folder '
            'that stays, those that are gone; repeat.'
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster whose machines encode; 'auto': this one's."),
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help='Of each worker in the cluster; .5: two share one.')
    ] = 0,
    device: Device = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Add what is new in folders, forget what is gone from them, and ask the alerts of it.

    Stopped or killed, it goes on where it was when it is run again. Exit code 1: all is done but
    for the files that are listed.
    """
    from demul_mm.app.alerts import Alerts
    from demul_mm.app.library import Library
    from demul_mm.app.watch import watch as go_on

    show.set_logging(quiet or json, verbose)
    make = make_encoder(encoder, device, offline, verbose, weights)
    if forget:
        if sources or watch:
            raise ValueError('--forget goes alone: without folders to add, and without --watch')
        library = Library.open(index, make)
        report = library.forget(forget)
        if json:
            show.report_as_json(report, [], one_line=False)
        else:
            show.report(report, library, quiet)
        return
    if ray is not None and watch:
        raise ValueError('--ray encodes what is there now; leave --watch out')
    if shots:
        need('shots', 'scenedetect')
    if milvus is not None:
        need('milvus', 'pymilvus')
    recognizer = None
    if speech is not None:
        need('speech', 'faster_whisper')
        from demul_mm.app.speech import SpeechRecognizer

        recognizer = SpeechRecognizer(speech, device, offline)
    cluster = None if ray is None else _cluster(ray, make, gpus)
    library = Library.make(index, make, sources or (), seconds, shots or None, milvus)
    library.speech = recognizer
    alerts, broken, said = Alerts(library), False, set[str]()
    try:
        with show.progress(hidden=quiet or json) as tell:
            if watch:
                looks = go_on(library, sources or (), every, tell, retry)
            else:
                looks = iter([library.update(sources or (), retry, tell, cluster=cluster)])
            for number, report in enumerate(looks):
                broken = bool(report.broken)
                changed = report.added or report.forgotten or broken or not number
                _tell(alerts, report, bool(changed), json, quiet, watch, said)
    except KeyboardInterrupt:
        sys.stderr.write('stopped; what is encoded is kept, the same command goes on from here\n')
        raise
    if broken:
        raise typer.Exit(1)


def _tell(
    alerts: Alerts,
    report: Report,
    changed: bool,
    json: bool,
    quiet: bool,
    watch: bool,
    said: set[str],
) -> None:
    """What an update did, if it changed anything, and what alerts find in what was added."""
    if not json:
        if changed:
            show.report(report, alerts.library, quiet)
        _run(alerts, show.event, watch, said)
        return
    events = _run(alerts, lambda event: None, watch, said)
    if changed or events:
        show.report_as_json(report, events, one_line=watch)


def _run(alerts: Alerts, tell: Callable[[Event], None], watch: bool, said: set[str]) -> list[Event]:
    """Ask alerts; a watch waits for the disk, and says so once."""
    try:
        events = alerts.run(tell, PATIENCE if watch else None)
    except OSError as error:
        if not watch:
            raise
        if str(error) not in said:
            from mmengine.logging import MMLogger

            MMLogger.get_current_instance().warning(f'alerts wait: {error}')
        said.add(str(error))
        return []
    said.clear()
    return events


def _cluster(address: str, make: Any, gpus: float) -> Any:
    """The machines that encode."""
    from demul_mm.app.cluster import encode_on
    from demul_mm.cluster import Cluster

    return partial(encode_on, Cluster(address, gpus), make)


def info(
    index: Index = DEFAULT_INDEX,
    recall: Annotated[
        bool,
        typer.Option(
            '--recall', help="The share of exact search's best ten moments that the index finds."
        ),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """What the library holds, and which files are broken."""
    from demul_mm.app.library import Library

    show.set_logging(True, False)
    library = Library.open(index, make_encoder(None, None, True, False))
    facts = library.facts()
    if recall:
        facts['recall'] = library.recall()
    show.facts(facts, json)


def encoders(json: Json = False, debug: Debug = False) -> None:
    """Image-text models to begin with, their licences and their cost."""
    from demul_mm.zero_shot.encoders import RECOMMENDED

    show.table([one._asdict() for one in RECOMMENDED], json)


def doctor(json: Json = False, debug: Debug = False) -> None:
    """What is installed, and on which device models run."""
    from demul_mm.app.doctor import findings

    show.facts(findings(), json, nothing='missing')
