"""The command ``demul``. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from demul_mm.app import show
from demul_mm.cli.entry import run_tool

app = typer.Typer(
    help='Search your own videos by a sentence.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=dict(help_option_names=['-h', '--help']),
)

alerts = typer.Typer(help='Sentences that every new video is asked.', no_args_is_help=True)
app.add_typer(alerts, name='alert')

Index = Annotated[
    Path, typer.Option('--index', envvar='DEMUL_INDEX', help='Folder of the library.')
]
Encoder = Annotated[
    str | None,
    typer.Option(
        '--model',
        '--encoder',
        help='Image-text model (see: demul encoders) or trained DeMUL: a folder, or a name on '
        'huggingface.co; or the config file of a DeMUL. Of a library that exists, its own.',
    ),
]
Weights = Annotated[
    Path | None, typer.Option('--weights', help='Of the DeMUL whose config is the --model.')
]
Device = Annotated[
    str | None, typer.Option('--device', help='Where models run; a GPU if there is one.')
]
Offline = Annotated[bool, typer.Option('--offline', help='Never download anything.')]
Json = Annotated[bool, typer.Option('--json', help='Print JSON.')]
Quiet = Annotated[bool, typer.Option('--quiet', '-q', help='Print results alone.')]
Verbose = Annotated[bool, typer.Option('--verbose', '-v', help='Print what happens inside.')]
Number = Annotated[int, typer.Option('--number', '-n', min=1, help='Moments, at most.')]
# Every command has them; the entry reads it.
Debug = Annotated[bool, typer.Option('--debug', help='Show the traceback of every error.')]

DEFAULT_INDEX = Path('demul_library')


def main() -> None:
    """The entry point."""
    run_tool(app)


@app.command()
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
        float, typer.Option(min=0.02, help='Between the frames that are seen, of a new library.')
    ] = 1.0,
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
    from demul_mm.app.alerts import Alerts, has_alerts
    from demul_mm.app.library import Library, Report
    from demul_mm.app.watch import watch as go_on

    show.set_logging(quiet or json, verbose)
    make = _encoder(encoder, device, offline, verbose, weights)
    if ray is not None and watch:
        raise ValueError('--ray encodes what is there now; leave --watch out')
    if shots:
        _needs('shots', 'scenedetect')
    if milvus is not None:
        _needs('milvus', 'pymilvus')
    recognizer = None
    if speech is not None:
        _needs('speech', 'faster_whisper')
        from demul_mm.app.speech import SpeechRecognizer

        recognizer = SpeechRecognizer(speech, device, offline)
    cluster = None if ray is None else _cluster(ray, make, gpus)
    library = Library.make(index, make, sources or (), seconds, shots, milvus)
    library.speech = recognizer
    broken = False

    def done(report: Report) -> None:
        nonlocal broken
        broken = bool(report.broken)
        tell = (lambda event: None) if json else show.event
        events = Alerts(library).run(tell) if has_alerts(library) else []
        show.report(report, library, events, json, quiet)

    try:
        with show.progress(hidden=quiet or json) as tell:
            if watch:
                go_on(library, sources or (), every, done, tell)
            report = library.update(sources or (), retry, tell, cluster=cluster)
        done(report)
    except KeyboardInterrupt:
        sys.stderr.write('stopped; what is encoded is kept, the same command goes on from here\n')
        raise
    if broken:
        raise typer.Exit(1)


@app.command()
def search(
    sentence: Annotated[str, typer.Argument(help='What is looked for.')],
    index: Index = DEFAULT_INDEX,
    number: Number = 10,
    only: Annotated[
        str | None, typer.Option(help="Search the 'picture's alone, or the 'text' that is said.")
    ] = None,
    encoder: Encoder = None,
    weights: Weights = None,
    device: Device = None,
    offline: Offline = False,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find the best moments of all videos of the library."""
    from demul_mm.app.library import Library

    show.set_logging(True, verbose)
    library = Library.open(index, _encoder(encoder, device, offline, verbose, weights))
    kinds = (only,) if only else ('picture', 'text')
    show.hits(library.search(sentence, number, kinds), sentence, json)


@app.command()
def ask(
    video: Annotated[Path, typer.Argument(help='Video file, of the library or not.')],
    sentence: Annotated[str, typer.Argument(help='What is looked for.')],
    index: Index = DEFAULT_INDEX,
    number: Number = 5,
    scorer: Annotated[
        str, typer.Option(help='How moments are told: windows, contrast, diwan or tag.')
    ] = 'contrast',
    encoder: Encoder = None,
    weights: Weights = None,
    device: Device = None,
    offline: Offline = False,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find the best moments of one video."""
    from demul_mm.app import asking
    from demul_mm.app.library import Library, is_library

    show.set_logging(True, verbose)
    make = _encoder(encoder, device, offline, verbose, weights)
    if is_library(index):
        found = Library.open(index, make).ask(video, sentence, number, scorer)
    else:
        found = asking.ask(video, sentence, lambda: make(None), number=number, scorer=scorer)
    show.hits(found, sentence, json)


@app.command()
def cut(
    video: Annotated[Path, typer.Argument(help='Video file.')],
    start: Annotated[float, typer.Argument(help='Seconds from its first frame.')],
    end: Annotated[float, typer.Argument(help='Seconds from its first frame.')],
    target: Annotated[Path, typer.Argument(help='File to write.')],
    fast: Annotated[
        bool, typer.Option('--fast', help='Copy from the key frame before, encode nothing.')
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Cut a moment out of a video: exactly, or fast."""
    from demul_mm.video.cutting import cut as write

    first, last = write(video, target, start, end, fast)
    show.facts(dict(file=str(target), start=round(first, 3), end=round(last, 3)), json)


@app.command()
def export(
    target: Annotated[
        Path, typer.Argument(help='File to write: .json .csv .vtt .edl .fcpxml .otio')
    ],
    moments: Annotated[
        Path, typer.Option(help="What search --json or ask --json printed; '-': what comes in.")
    ] = Path('-'),
    padding: Annotated[float, typer.Option(min=0, help='Seconds added on both sides.')] = 0.0,
    debug: Debug = False,
) -> None:
    """Write moments for editors: demul search "..." --json | demul export cuts.edl"""
    from demul_mm.app.export import export as render
    from demul_mm.app.export import read_moments
    from demul_mm.files import read_text, write_atomically

    text = sys.stdin.read() if moments == Path('-') else read_text(moments)
    query, rows = read_moments(text)
    write_atomically(target, render(query, rows, target.suffix.lstrip('.').lower(), padding))


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
    debug: Debug = False,
) -> None:
    """Ask it no more."""
    _alerts(index, None).remove(number)


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
    found = _alerts(index, _encoder(encoder, device, offline, verbose, weights))
    show.events(found.run((lambda event: None) if json else show.event), json)


def _alerts(index: Path, make: Any) -> Any:
    """The standing queries of a library."""
    from demul_mm.app.alerts import Alerts
    from demul_mm.app.library import Library

    return Alerts(Library.open(index, make))


@app.command()
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
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Open the library in a browser: a page, and REST (see /openapi.json)."""
    _needs('web', 'fastapi', 'uvicorn')
    from demul_mm.server import run
    from demul_mm.server.service import Service

    show.set_logging(quiet, verbose)
    service = Service(index, _encoder(encoder, device, offline, verbose, weights), allow or ())
    run.serve(service, host, port, token, lambda url: typer.echo(f'open {url}'))


@app.command()
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
    _needs('mcp', 'mcp')
    from demul_mm.server.mcp_tools import create_mcp
    from demul_mm.server.service import Service

    show.set_logging(True, verbose)
    service = Service(index, _encoder(encoder, device, offline, verbose, weights))
    try:
        create_mcp(service, clips).run()
    finally:
        service.close()


@app.command()
def info(index: Index = DEFAULT_INDEX, json: Json = False, debug: Debug = False) -> None:
    """What the library holds, and which files are broken."""
    from demul_mm.app.library import Library

    show.facts(Library.open(index, _encoder(None, None, True, False)).facts(), json)


@app.command()
def encoders(json: Json = False, debug: Debug = False) -> None:
    """Image-text models to begin with, their licences and their cost."""
    from demul_mm.zero_shot.encoders import RECOMMENDED

    show.table([one._asdict() for one in RECOMMENDED], json)


@app.command()
def doctor(json: Json = False, debug: Debug = False) -> None:
    """What is installed, and on which device models run."""
    from demul_mm.app.doctor import findings

    show.facts(findings(), json)


def _cluster(address: str, make: Any, gpus: float) -> Any:
    """The machines that encode."""
    from demul_mm.app.cluster import ClusterEncoder
    from demul_mm.cluster import Cluster

    return ClusterEncoder(Cluster(address, gpus), make)


def _needs(extra: str, *packages: str) -> None:
    """Say what to install where a command lacks it."""
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ImportError(f'{", ".join(missing)} is missing: pip install "demul-mm[{extra}]"')


def _encoder(
    name: str | None,
    device: str | None,
    offline: bool,
    verbose: bool,
    weights: Path | None = None,
) -> Any:
    """Makes the encoder that was asked for, or else that of the library, when it is needed."""
    if weights is not None and name is None:
        raise ValueError('--weights belong to a config: --model CONFIG --weights WEIGHTS')
    # A library is used from elsewhere, too.
    asked = os.path.abspath(name) if name is not None and os.path.exists(name) else name
    if weights is not None:
        asked = f'{asked}{os.pathsep}{os.path.abspath(weights)}'

    def make(known: str | None) -> Any:
        from demul_mm.app.models import load_encoder

        if not verbose:
            import transformers

            transformers.logging.disable_progress_bar()
        return load_encoder(asked or known, device, offline)

    return make
