"""What is fixed for a library once its encoder is first used, and where it looks."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from demul_mm.app.catalogue import Catalogue
from demul_mm.app.sources import covers, needs, resolve

# Seconds between the frames that are seen, at most.
LONGEST = 3600.0


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
        ValueError: the library has others than those that are given, or no video has such frames.
    """
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise ValueError(f'frames every {seconds:g} s; give seconds above 0, {LONGEST:g} at most')
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
    now = {str(root): needs(root) for root in roots}
    there = {root: needed for root, needed in now.items() if os.path.exists(needed)}
    catalogue.set('bases', bases | there)
    return roots


def drop_roots(
    sources: str | Path | Sequence[str | Path], catalogue: Catalogue, known: Collection[str]
) -> list[str]:
    """Look no longer for some sources, and forget their videos.

    Args:
        sources: names, each of which drops the sources that it covers (see :func:`covers`).
        catalogue: of the library.
        known: paths of its videos.

    Returns:
        What was forgotten: the videos that a name covers, but for those that are there and lie in
        a source that is left.

    Raises:
        ValueError: a name drops and forgets nothing.
    """
    listed = [sources] if isinstance(sources, (str, Path)) else sources
    before, bases = catalogue.setting('roots', []), catalogue.setting('bases', {})
    # What lies behind a link below a source is called after the link.
    names = [{Path(source).resolve(), Path(os.path.abspath(source))} for source in listed]
    dropped = [_covered(one, before) for one in names]
    rest = [root for root in before if not any(root in roots for roots in dropped)]
    gone = set[str]()
    for source, one, roots in zip(listed, names, dropped):
        lost = [
            path
            for path in _covered(one, known)
            if not os.path.exists(path) or not any(covers(Path(root), path) for root in rest)
        ]
        if not lost and not roots:
            looked = ', '.join(before) or 'nowhere'
            raise ValueError(
                f'no source {source} was given, and no video in it is missing; given: {looked}'
            )
        gone.update(lost)
    for path in sorted(gone):
        catalogue.forget(path)
    # Last, so that the same can be asked again after a kill.
    catalogue.set('roots', rest)
    catalogue.set('bases', {root: needed for root, needed in bases.items() if root in rest})
    return sorted(gone)


def _covered(names: Collection[Path], paths: Collection[str]) -> list[str]:
    return [path for path in paths if any(covers(name, path) for name in names)]
