"""Files that are there whole or not at all, and what videos are called."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a file must end in to be taken for a video where a folder is searched for them.
VIDEO_SUFFIXES: tuple[str, ...] = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg')
VIDEO_SUFFIXES += ('.ts', '.mts', '.m2ts', '.wmv', '.flv', '.3gp')


@contextmanager
def replacing(path: str | os.PathLike, shared: bool = False) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when it is complete and on the disk.

    At any moment the old file or the whole new one is there. What a killed process left is
    overwritten by the next; what is raised removes it.

    Args:
        path: its folder is made if it is missing.
        shared: several processes may write this file at once: each under a name of its own.

    Yields:
        The temporary file, hidden beside ``path``, with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f'.{os.getpid()}' if shared else ''
    temporary = path.with_name(f'.{path.stem}{owner}.tmp{path.suffix}')
    try:
        yield temporary
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes with :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
