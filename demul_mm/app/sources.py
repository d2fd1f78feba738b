"""Where a library's videos are: folders, files and globs; and whether they have changed."""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
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
        bases: what each source :func:`needs`, of those given before; without it a missing
            ``Films [HD]`` is taken for a glob.

    Raises:
        FileNotFoundError: what one needs is missing.
        ValueError: there is none.
    """
    listed = [sources] if isinstance(sources, (str, Path)) else sources
    given = [Path(source).resolve() for source in listed] or [Path(root) for root in before]
    if not given:
        raise ValueError('no folder was given, now or before: demul index FOLDER')
    for root in given:
        needed = Path(bases.get(str(root), base(root)))
        if not needed.exists():
            known = str(root) in bases or str(root) in before
            hint = f'; if it is gone for good: demul index --forget {root}' if known else ''
            raise FileNotFoundError(f'{needed} is missing; nothing was changed{hint}')
    return given


def needs(root: Path) -> str:
    """What must be there for a source to be looked through: of a file its folder."""
    return str(root.parent if os.path.isfile(root) else base(root))


def find_videos(roots: Sequence[Path], unseen: dict[str, str] | None = None) -> list[str]:
    """Video files that are given, match a glob, or lie below folders (see :func:`find_files`).

    Hidden files and folders are found only where they are given themselves.
    """
    found: dict[str, None] = {}
    for root in roots:
        if os.path.isfile(root):
            found[str(root)] = None
            continue
        files = map(str, find_files(base(root), VIDEO_SUFFIXES, unseen))
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
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(path):
                errors[path] = f'it is a link to {os.readlink(path)}, which is missing'
        except OSError as error:
            errors[path] = f'it cannot be looked at ({error.strerror})'
        except UnicodeEncodeError:
            errors[path] = 'its name is no valid UTF-8; rename it'
    return states, errors


class Survey(NamedTuple):
    """What there is of a library's videos.

    Attributes:
        states: of each file that is there.
        unseen: files and folders that cannot be looked at for now, and why.
        kept: known videos that may still be there, out of reach.
        mounts: where disks with videos are mounted, or were when these were last all there.
    """

    states: dict[str, State]
    unseen: dict[str, str]
    kept: set[str]
    mounts: list[str]


def survey(roots: Sequence[Path], known: Collection[str], mounts: Sequence[str]) -> Survey:
    """Look for videos, and tell those that are gone from those that are out of reach for now.

    Out of reach is what lies in a folder that cannot be read, behind a link to what is missing, or
    on a disk that is not mounted; and all of a folder or glob in which there is no video any more.

    Args:
        roots: see :func:`resolve`.
        known: paths of the library's videos.
        mounts: those of the last survey.
    """
    away: dict[str, str] = {}
    found = {
        root: [str(root)]  # looked at by its name: gone, it is no folder without videos
        if str(root) in known and not os.path.isdir(root)
        else find_videos([root], away)
        for root in roots
    }
    states, errors = look_at(list(dict.fromkeys(chain.from_iterable(found.values()))))
    unread = [folder for folder in away if not os.path.islink(folder)]
    lost = (mount for mount in mounts if not os.path.ismount(mount))
    away.update(dict.fromkeys(lost, 'no disk is mounted there'))
    missing = [path for path in known if path not in states and path not in errors]
    above = cache(_above)
    kept = {
        path: place for path in missing for place in above(os.path.dirname(path)) if place in away
    }
    for root, files in found.items():
        if not files and str(root) not in away:
            away[str(root)] = 'it holds no video any more, as where a disk is away'
            rest = (path for path in missing if path not in kept)
            kept |= dict.fromkeys((path for path in rest if covers(root, path)), str(root))

    def around(paths: Iterable[str]) -> set[str]:
        return {place for folder in set(map(os.path.dirname, paths)) for place in above(folder)}

    there, held = around(states), dict[str, list[str]]()
    for path, place in kept.items():
        held.setdefault(place, []).append(path)
    unseen = {place: why for place, why in away.items() if place in unread or place in held}
    for place, files in held.items():
        # What is there stays: a place with videos may be a source.
        gone = min(files) if place in there else place
        unseen[place] += f'; what is known of it is kept ({len(files)}; if it is gone for good: '
        unseen[place] += f'demul index --forget {gone})'
    partly = around(set(known).difference(states))
    still = {*filter(os.path.ismount, there), *partly.intersection(mounts)}
    return Survey(states, unseen | errors, set(kept), sorted(still))


def _above(folder: str) -> list[str]:
    """A folder and those that it lies in, as it is named and without links."""
    places = Path(folder), Path(os.path.realpath(folder))
    return [str(above) for place in places for above in (place, *place.parents)]


def key_of(files: Sequence[str | Path]) -> str:
    """Stands for these files as long as none changes."""
    return hashlib.sha256('\n'.join(map(file_state, files)).encode()).hexdigest()[:24]
