"""What is fixed for a library once its encoder is first used, and where it looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from demul_mm.app.catalogue import Catalogue
from demul_mm.app.sources import base, resolve


class Settings(NamedTuple):
    """Settings of a library; ``served`` is where a server keeps its index, or None."""

    seconds: float = 1.0
    shots: bool = False
    served: dict[str, Any] | None = None


def settle(
    path: Path,
    catalogue: Catalogue,
    seconds: float | None = None,
    shots: bool | None = None,
    milvus: str | None = None,
) -> Settings:
    """Those that a library has, or those of a new one: what is given, or else the defaults.

    Args:
        path: folder of the library.
        catalogue: of the library.
        seconds: between the frames that are encoded.
        shots: whether moments keep to shots.
        milvus: address of the server that keeps the index.

    Raises:
        ValueError: the library has others than those that are given.
    """
    if catalogue.setting('encoder'):
        settings = Settings(*(catalogue.setting(*one) for one in Settings()._asdict().items()))
    else:
        served = dict(uri=milvus, collection=f'demul_{uuid4().hex}') if milvus else None
        settings = Settings(1.0 if seconds is None else seconds, bool(shots), served)
    other = 'or give another --index'
    if milvus is not None and (settings.served or {}).get('uri') != milvus:
        where = settings.served['uri'] if settings.served else 'its folder'
        raise ValueError(
            f'{path} keeps its index in {where}, not in {milvus}; leave --milvus out, {other}'
        )
    if seconds is not None and settings.seconds != seconds:
        raise ValueError(
            f'{path} has frames every {settings.seconds:g} s, not every {seconds:g} s; leave '
            f'--seconds out, {other}'
        )
    if shots is not None and settings.shots != shots:
        kept = 'keep' if settings.shots else 'do not keep'
        raise ValueError(f'the moments of {path} {kept} to shots; leave --shots out, {other}')
    return settings


def keep(catalogue: Catalogue, encoder: dict[str, str], settings: Settings) -> None:
    """Fix them, with the ``name`` and the ``fingerprint`` of the encoder."""
    # The encoder comes last: until it is there, after a kill too, nothing is fixed.
    for name, value in dict(settings._asdict(), encoder=encoder).items():
        catalogue.set(name, value)


def settle_roots(sources: str | Path | Sequence[str | Path], catalogue: Catalogue) -> list[Path]:
    """Where an update looks, which later ones do, too; see :func:`resolve`."""
    before, bases = catalogue.setting('roots', []), catalogue.setting('bases', {})
    roots = resolve(sources, before, bases)
    catalogue.set('roots', list(dict.fromkeys([*before, *map(str, roots)])))
    # What was missing when it was given, and is there now, is missed from now on.
    now = {str(root): max(str(base(root)), bases.get(str(root), ''), key=len) for root in roots}
    catalogue.set('bases', bases | now)
    return roots
