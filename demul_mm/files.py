"""Atomic writing of files, reading of text, and the names of videos by their files."""

import codecs
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

# What a file must end in to be taken for a video where a folder is searched for them.
VIDEO_SUFFIXES: tuple[str, ...] = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg')
VIDEO_SUFFIXES += ('.ts', '.mts', '.m2ts', '.wmv', '.flv', '.3gp')
# Folders of file systems, at the root of a disk, that only an administrator can read.
_SYSTEM = ('lost+found', 'System Volume Information')


def list_by_id(folder: str | os.PathLike, suffixes: Sequence[str]) -> dict[str, str]:
    """The files of a folder and its sub-folders by id: the path in it without suffix, ``cat/000``.

    Args:
        suffixes: how names of the files end; see :func:`find_files`.

    Returns:
        Paths relative to the folder, in the order of the ids.

    Raises:
        ValueError: two files have the same id, as ``a.mp4`` beside ``a.mkv``; or the name of one is
            no Unicode, and could be no id.
    """
    files = find_files(folder, suffixes)
    places = [Path(_unicode(str(file.relative_to(folder)))) for file in files]
    found = [(place.with_suffix('').as_posix(), str(place)) for place in places]
    return unique_ids(sorted(found), f'{folder}: ')


def find_files(
    folder: str | os.PathLike, suffixes: Sequence[str], unseen: dict[str, str] | None = None
) -> Iterator[Path]:
    """The files of a folder and its sub-folders; links are followed, each folder once.

    Hidden files and folders are left out, and what :func:`replacing` has not finished.

    Args:
        suffixes: how names of the files end, in lower case; case does not matter.
        unseen: to which folders that cannot be read, and links to folders or files that are
            missing, are added with why; None: nothing is told of them.
    """

    def note(error: OSError) -> None:
        if unseen is not None and not isinstance(error, FileNotFoundError):  # gone meanwhile
            unseen[str(error.filename)] = f'it cannot be read ({error.strerror})'

    entered: set[str] = set()
    for root, folders, names in os.walk(os.fspath(folder), onerror=note, followlinks=True):
        entered.add(os.path.realpath(root))
        folders[:] = [
            name
            for name in sorted(folders)
            if name[0] != '.'
            and name not in _SYSTEM
            and os.path.realpath(os.path.join(root, name)) not in entered
        ]
        for name in sorted(names):
            path = os.path.join(root, name)
            if unseen is not None and os.path.islink(path) and not os.path.exists(path):
                unseen[path] = f'it is a link to {os.readlink(path)}, which is missing'
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes and name[0] != '.' and not stem.endswith('.tmp'):
                yield Path(path)


def _unicode(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f'the file name {name!a} is no valid UTF-8; rename the file') from None
    return name


def file_state(path: str | os.PathLike) -> str:
    """Path, size and modification time as one string; it changes when the file does."""
    stat = os.stat(path)
    return f'{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns}'


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of these files together; one that another process deletes meanwhile has none."""
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def unique_ids(videos: Iterable[tuple[str, str]], where: str = '') -> dict[str, str]:
    """Files by id; the same file may come again.

    Args:
        videos: (id, path).
        where: how a message begins.

    Raises:
        ValueError: two files have the same id.
    """
    by_id: dict[str, str] = {}
    for video_id, path in videos:
        other = by_id.setdefault(video_id, path)
        if os.path.realpath(other) != os.path.realpath(path):
            raise ValueError(
                f'{where}{other} and {path} would both be called {video_id!r}; rename one, or give '
                'the folder that holds both: the names of its sub-folders are part of the ids'
            )
    return by_id


def ids_of(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> dict[str, str]:
    """What files are called: their names without suffix, where those tell them apart.

    Otherwise the paths from the folder that holds them all, without suffix.

    Returns:
        The id by path.

    Raises:
        ValueError: they are not told apart, as ``a.mp4`` and ``a.mkv``.
    """
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    files = {_unicode(os.fspath(path)): Path(path) for path in listed}
    if len({file.stem for file in files.values()}) == len(files):
        return {path: file.stem for path, file in files.items()}
    whole = {path: Path(os.path.abspath(path)) for path in files}
    common = os.path.commonpath([file.parent for file in whole.values()])
    named = {p: f.relative_to(common).with_name(f.stem).as_posix() for p, f in whole.items()}
    unique_ids((video_id, path) for path, video_id in named.items())
    return named


def inside(folder: str | os.PathLike, video_id: str, suffix: str) -> Path:
    """The file of a video in a folder, for an id with slashes in a sub-folder of it.

    Raises:
        ValueError: it would lie outside of the folder.
    """
    place = os.path.normpath(video_id + suffix)
    if os.path.isabs(place) or place.split(os.sep)[0] == '..' or '\0' in place:
        raise ValueError(f'video {video_id!r}: a file of that name would not be in {folder}')
    return Path(folder, place)


@contextmanager
def replacing(path: str | os.PathLike, shared: bool = False) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when it is complete and on the disk.

    At any moment the old file or the whole new one is there. What a killed process left is
    overwritten by the next; what is raised removes it.

    Args:
        path: its folder is made if it is missing.
        shared: several processes, of several machines, may write this file at once: each under a
            name of its own.

    Yields:
        The temporary file, hidden beside ``path``, with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f'.{platform.node()}.{os.getpid()}' if shared else ''
    temporary = path.with_name(f'.{path.stem}{owner}.tmp{path.suffix}')
    try:
        yield temporary
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class NotText(ValueError):
    """A file that holds something else than text, or text in an encoding that it does not name."""


def read_text(path: str | os.PathLike, encoding: str | None = None) -> str:
    """The text of a file; see :func:`open_text`."""
    with open_text(path, encoding=encoding) as file:
        return file.read()


def read_list(path: str | os.PathLike) -> list[str]:
    """The lines of a text file that are not blank, as ids or paths one a line."""
    return [line.strip() for line in read_text(path).split('\n') if line.strip()]


@contextmanager
def open_text(
    path: str | os.PathLike, newline: str | None = None, encoding: str | None = None
) -> Iterator[TextIO]:
    """A text file to read: UTF-16 where it begins with the mark of it, UTF-8 otherwise.

    Args:
        newline: see :func:`open`.
        encoding: how a file in another one is written.

    Raises:
        NotText: it is neither.
    """
    with open(path, 'rb') as file:
        mark = file.read(2)
    if encoding is None:
        is_utf16 = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = 'utf-16' if is_utf16 else 'utf-8-sig'
    with open(path, encoding=encoding, newline=newline) as text:
        try:
            yield text
        except UnicodeError as error:
            raise NotText(f'{path}: not {encoding} ({error}); save it as UTF-8') from error


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes with :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
