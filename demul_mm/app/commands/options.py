"""Options that several commands have, and what they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

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


def need(extra: str, *packages: str) -> None:
    """Say what to install where a command lacks it."""
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ImportError(f'{", ".join(missing)} is missing: pip install "demul-mm[{extra}]"')


def make_encoder(
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
