"""SQLite files, whose errors are those of the disk that they are on."""

import errno
import os
import re
import sqlite3
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from demul_mm.files import file_state

# Kinds of these errors, by what SQLite says; what it says else is a mistake of whoever asked.
KINDS = {'is full': errno.ENOSPC, 'readonly': errno.EROFS, 'is locked': errno.EBUSY}
_DAMAGE = ('I/O error', 'malformed', 'not a database', 'unable to open', 'not decode')
KINDS |= dict.fromkeys((*_DAMAGE, 'permission denied', 'locking protocol'), errno.EIO)


def _of_the_disk(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that raises OSError where SQLite cannot read or write its file."""

    @wraps(method)
    def call(self: Any, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except sqlite3.DatabaseError as error:
            if not any(text in str(error) for text in KINDS):
                raise
            path = self.path if isinstance(self, Database) else self.connection.path
            raise _os_error(path, str(error)) from error

    return call


def _os_error(path: Path, why: str) -> OSError:
    error = OSError(f'{path}: {why}')
    error.errno = next((number for text, number in KINDS.items() if text in why), errno.EIO)
    return error


class _Cursor(sqlite3.Cursor):
    execute = _of_the_disk(sqlite3.Cursor.execute)
    executemany = _of_the_disk(sqlite3.Cursor.executemany)
    executescript = _of_the_disk(sqlite3.Cursor.executescript)
    fetchone = _of_the_disk(sqlite3.Cursor.fetchone)
    fetchall = _of_the_disk(sqlite3.Cursor.fetchall)
    __next__ = _of_the_disk(sqlite3.Cursor.__next__)


class Database(sqlite3.Connection):
    """A connection to a file.

    Raises, as all that is done with it does:
        OSError: the file cannot be read or written, or is damaged; the disk is full.
    """

    path: Path
    # How the file was, of a connection that takes it never to change.
    frozen: str | None = None

    def is_outdated(self) -> bool:
        """Whether the file has changed in a way that this connection does not see."""
        return self.frozen is not None and self.frozen != _state(self.path)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Run a statement."""
        return self.cursor(_Cursor).execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """Run a statement with each of several values."""
        return self.cursor(_Cursor).executemany(*arguments)

    def executescript(self, script: str) -> sqlite3.Cursor:
        """Run several statements."""
        return self.cursor(_Cursor).executescript(script)

    __exit__ = _of_the_disk(sqlite3.Connection.__exit__)


def connect(path: Path) -> Database:
    """Open a file, which is made if there is none; to read alone if its folder is not writable.

    Raises:
        OSError: it cannot be opened.
    """
    if os.access(path.parent, os.W_OK) or not path.exists():
        return _open(path, path.absolute().as_uri())
    uri = f'{path.absolute().as_uri()}?mode=ro'
    try:
        db = _open(path, uri)
        db.execute('SELECT 1 FROM sqlite_master').fetchone()
    except OSError:  # reading it beside who writes takes files of its log, and there are none
        state = _state(path)
        db = _open(path, f'{uri}&immutable=1')
        db.frozen = state
    return db


def _state(path: Path) -> str:
    """Changes when a file does, or a log of what is written to it comes beside it."""
    return f'{file_state(path)} {path.with_name(f"{path.name}-wal").exists()}'


def _open(path: Path, uri: str) -> Database:
    try:
        db = sqlite3.connect(uri, timeout=60, factory=Database, uri=True)
    except sqlite3.OperationalError as error:
        raise _os_error(path, str(error)) from error
    db.path = path
    db.execute('PRAGMA foreign_keys = ON')
    return db


def add_tables(db: Database, schema: str) -> None:
    """Make what is not there yet of a schema, whose statements are CREATE ... IF NOT EXISTS."""
    there = {name for (name,) in db.execute('SELECT name FROM sqlite_master')}
    if set(re.findall(r'IF NOT EXISTS (\w+)', schema)) - there:
        db.executescript(schema)
