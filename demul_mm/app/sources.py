"""Where a library's videos are: folders, files and globs; and whether they have changed."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from demul_mm.app.catalogue import VideoRow
from demul_mm.files import VIDEO_SUFFIXES, file_state, find_files
from demul_mm.video.text import subtitles_in

_GLOB = re.compile(r'\*\*/|\*\*|\*|\?|\[!?[^\]]+\]')


def resolve(
    sources: str | Path | Sequence[str | Path],
    before: Sequence[str] = (),
    bases: Mapping[str, str] = MappingProxyType({}),
) -> list[Path]:
    """Sources from the root on, or those of before where none is given.

    Args:
        sources: folders, files, and globs whose ``**`` stands for any folders; one or several.
        bases: the :func:`base` that sources had before; without it a missing ``Films [HD]`` is
            taken for a glob.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: there is none.
    """
    listed = [sources] if isinstance(sources, (str, Path)) else sources
    given = [Path(source).resolve() for source in listed] or [Path(root) for root in before]
    if not given:
        raise ValueError('no folder was given, now or before: demul index FOLDER')
    for root in given:
        needed = Path(bases.get(str(root), base(root)))
        if not needed.exists():
            raise FileNotFoundError(f'{needed} is missing; nothing was changed')
    return given


def find_videos(roots: Sequence[Path]) -> list[str]:
    """Video files that are given, match a glob, or lie below folders (see :func:`find_files`).

    Hidden files and folders are found only where they are given themselves.
    """
    found: dict[str, None] = {}
    for root in roots:
        if root.is_file():
            found[str(root)] = None
            continue
        files = map(str, find_files(base(root), VIDEO_SUFFIXES))
        found.update(dict.fromkeys(path for path in files if covers(root, path)))
    return list(found)


def base(root: Path) -> Path:
    """The folder or file itself, or the folder above the first wildcard of a glob.

    What exists under such a name is no wildcard.
    """
    for part in (*reversed(root.parents), root):
        if _GLOB.search(part.name) and not part.exists():
            return part.parent
    return root


def covers(root: Path, path: str) -> bool:
    """Whether a file is a source, lies below it or, of a glob, matches it."""
    start = str(base(root))
    if start != str(root):
        glob = re.escape(start) + _pattern(str(root)[len(start) :])
        return re.fullmatch(glob, path, re.DOTALL) is not None
    return Path(path) == root or root in Path(path).parents


def _pattern(glob: str) -> str:
    slash = re.escape(os.sep)
    meanings = {'**/': f'(?:[^{slash}]+{slash})*', '**': '.*', '*': f'[^{slash}]*'}
    meanings['?'] = f'[^{slash}]'
    whole, last = '', 0
    for wild in _GLOB.finditer(glob):
        text = wild.group()
        choice = f'[^{text[2:]}' if text.startswith('[!') else text
        whole += re.escape(glob[last : wild.start()]) + meanings.get(text, choice)
        last = wild.end()
    return whole + re.escape(glob[last:])


class State(NamedTuple):
    """Of a video file and of the subtitles beside it a string; it changes when they do."""

    key: str
    text: str


def state_key(path: str | Path) -> str:
    """A hash of a video file's path, size and modification time."""
    return key_of([path])


def is_new(row: VideoRow | None, state: State, retry: bool) -> bool:
    """Whether a file is new or has changed; or, for ``retry``, was broken."""
    return row is None or (row.key, row.text) != state or (retry and row.state == 'broken')


def look_at(paths: Sequence[str]) -> tuple[dict[str, State], dict[str, str]]:
    """States of many, and why some have none; what is gone is left out of both.

    Keys are the :func:`state_key` of each; without subtitles, ``text`` is empty.
    """
    states, errors = {}, {}
    beside: dict[Path, dict[str, list[Path]]] = {}
    for path in paths:
        folder, stem = Path(path).parent, Path(path).stem
        try:
            if folder not in beside:  # each is looked through once
                beside[folder] = subtitles_in(folder)
            subtitles = beside[folder].get(stem)
            states[path] = State(state_key(path), key_of(subtitles) if subtitles else '')
        except OSError as error:
            if os.path.islink(path):
                errors[path] = f'it is a link to {os.readlink(path)}, which is missing'
            elif os.path.lexists(path):
                errors[path] = f'it cannot be looked at ({error.strerror})'
        except UnicodeEncodeError:
            errors[path] = 'its name is no valid UTF-8; rename it'
    return states, errors


def key_of(files: Sequence[str | Path]) -> str:
    """Stands for these files as long as none changes."""
    return hashlib.sha256('\n'.join(map(file_state, files)).encode()).hexdigest()[:24]
