"""What is fixed for a library once its encoder is first used, and where it looks."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from demul_mm.app.catalogue import Catalogue
from demul_mm.app.sources import base, covers, is_deleted, resolve, unmounted

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


def settle_roots(
    sources: str | Path | Sequence[str | Path], catalogue: Catalogue, known: Collection[str]
) -> tuple[list[Path], list[str]]:
    """Where an update looks, which later ones do, too; see :func:`resolve`.

    A file that was given before and is deleted is no source any more.

    Args:
        catalogue: of the library.
        known: paths of its videos.

    Returns:
        The sources, and the files that are none any more.
    """
    before, bases = catalogue.setting('roots', []), catalogue.setting('bases', {})
    lost = unmounted(catalogue.setting('mounts', []))
    deleted = [] if sources else [r for r in before if r in known and is_deleted(r, lost)]
    before = [root for root in before if root not in deleted]
    roots = resolve(sources, before, bases) if sources or before or not deleted else []
    catalogue.set('roots', list(dict.fromkeys([*before, *map(str, roots)])))
    # What was missing when it was given, and is there now, is missed from now on.
    now = {str(root): max(str(base(root)), bases.get(str(root), ''), key=len) for root in roots}
    catalogue.set('bases', bases | now)
    return roots, deleted


def drop_roots(
    sources: str | Path | Sequence[str | Path], catalogue: Catalogue, known: Collection[str]
) -> list[str]:
    """Look no longer for some sources.

    Args:
        sources: those that were given before, or folders and files below them.
        catalogue: of the library.
        known: paths of its videos.

    Returns:
        The videos that lie in them, but for those that are there and lie in another source, too.

    Raises:
        ValueError: the library has neither such a source nor videos in it.
    """
    listed = [sources] if isinstance(sources, (str, Path)) else sources
    before, bases = catalogue.setting('roots', []), catalogue.setting('bases', {})
    # What lies behind a link below a source is called after the link.
    dropped = [{Path(source).resolve(), Path(os.path.abspath(source))} for source in listed]
    rest = [Path(root) for root in before if not any(Path(root) in names for names in dropped)]
    gone = set[str]()
    for source, names in zip(listed, dropped):
        below = [path for path in known if any(covers(name, path) for name in names)]
        if not below and names.isdisjoint(map(Path, before)):
            looked = ', '.join(before) or 'nowhere'
            raise ValueError(
                f'no source {source} was given, and no video is in it; given: {looked}'
            )
        gone.update(
            path
            for path in below
            if not os.path.exists(path) or not any(covers(root, path) for root in rest)
        )
    catalogue.set('roots', list(map(str, rest)))
    catalogue.set('bases', {root: start for root, start in bases.items() if Path(root) in rest})
    return sorted(gone)
