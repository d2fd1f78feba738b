"""Commands that find moments, and do something with them."""

from __future__ import annotations

import sys
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
    Number,
    Offline,
    Verbose,
    Weights,
    make_encoder,
)


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
    library = Library.open(index, make_encoder(encoder, device, offline, verbose, weights))
    kinds = (only,) if only else ('picture', 'text')
    show.hits(library.search(sentence, number, kinds), sentence, json)


def ask(
    video: Annotated[Path, typer.Argument(help='Video file, of the library or not.')],
    sentence: Annotated[str, typer.Argument(help='What is looked for.')],
    index: Index = DEFAULT_INDEX,
    number: Number = 5,
    scorer: Annotated[
        str, typer.Option(help='How moments are told: scan, windows, contrast, diwan or tag.')
    ] = 'scan',
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
    make = make_encoder(encoder, device, offline, verbose, weights)
    if is_library(index):
        found = Library.open(index, make).ask(video, sentence, number, scorer)
    else:
        found = asking.ask(video, sentence, lambda: make(None), number=number, scorer=scorer)
    show.hits(found, sentence, json)


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


def export(
    target: Annotated[
        Path, typer.Argument(help='File to write: .json .csv .vtt .edl .fcpxml .otio')
    ],
    moments: Annotated[
        Path, typer.Option(help="What search --json or ask --json printed; '-': what comes in.")
    ] = Path('-'),
    padding: Annotated[float, typer.Option(min=0, help='Seconds added on both sides.')] = 0.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write moments for editors: demul search "..." --json | demul export cuts.edl"""
    from demul_mm.app.export import export as render
    from demul_mm.app.export import read_moments
    from demul_mm.files import read_text, write_atomically

    if moments == Path('-') and sys.stdin.isatty():
        raise ValueError('no moments come in; give --moments FILE, or: demul search "..." --json |')
    text = sys.stdin.read() if moments == Path('-') else read_text(moments)
    query, rows = read_moments(text)
    write_atomically(target, render(query, rows, target.suffix.lstrip('.').lower(), padding))
    if json:
        show.facts(dict(file=str(target), moments=len(rows)), json)
