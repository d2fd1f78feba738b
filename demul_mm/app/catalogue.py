"""What a library knows of its videos and of what is said in them, in one SQLite file."""

import json
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demul_mm.app.database import Database, add_tables, connect
from demul_mm.video.text import TimedLine

FORMAT = 1
# A video is encoded, then indexed; or it is broken; or it is gone, and waits to leave the index.
SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS videos (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('encoded', 'indexed', 'broken')),
    duration REAL, error TEXT);
CREATE INDEX IF NOT EXISTS videos_by_key ON videos (key);
CREATE TABLE IF NOT EXISTS texts (
    video INTEGER PRIMARY KEY REFERENCES videos ON DELETE CASCADE, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gone (key TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS lines (
    id INTEGER PRIMARY KEY, video INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
    start REAL NOT NULL, "end" REAL NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS lines_of ON lines (video);
CREATE TABLE IF NOT EXISTS heard (
    video INTEGER PRIMARY KEY REFERENCES videos ON DELETE CASCADE, model TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    text, content='lines', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2');
CREATE TRIGGER IF NOT EXISTS line_added AFTER INSERT ON lines BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER IF NOT EXISTS line_gone AFTER DELETE ON lines BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text); END;
"""
_WORD = re.compile(r'\w+')
# A word in more than this share of the lines says little beside a rarer one, and costs most.
FREQUENT = 0.1


class VideoRow(NamedTuple):
    """A video of the library.

    ``key`` is a hash of the state of its file, and its id in the index; ``text`` one of that of the
    subtitles beside it, empty without any.
    """

    id: int
    path: str
    key: str
    text: str
    state: str
    duration: float | None
    error: str | None


class LineHit(NamedTuple):
    """A line that holds words of the query; smaller ranks are better."""

    key: str
    start: float
    end: float
    source: str
    text: str
    rank: float


class Catalogue:
    """Videos, their lines, and settings; every change is atomic.

    Threads may share it.

    Args:
        path: the file, which is made if there is none.
        shared: whether other machines are to use a new one, which takes longer to write.

    Raises:
        ValueError: it was written by a newer version, or its folder is a file.
        OSError: it cannot be read, or is damaged; so does every method, also of a full disk.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        if path.parent.is_file():
            raise ValueError(f'{path.parent} is a file; a library is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._local = threading.local()
        if not path.exists() and not shared:
            self._db.execute('PRAGMA journal_mode = WAL')  # the file keeps it
        add_tables(self._db, SCHEMA)
        found = self.setting('format')
        if found is None:
            self.set('format', FORMAT)
        elif found > FORMAT:
            raise ValueError(f'{path} has format {found}, this version reads up to {FORMAT}')

    @property
    def _db(self) -> Database:
        """The connection of the thread that asks: a statement in one is not safe from another's."""
        db = getattr(self._local, 'db', None)
        if db is None or db.is_outdated():
            db = self._local.db = connect(self._path)
        return db

    def close(self) -> None:
        """Let go of the file, as far as this thread holds it."""
        self._db.close()

    def setting(self, name: str, default: Any = None) -> Any:
        """A value that was set, or the default."""
        row = self._db.execute('SELECT value FROM settings WHERE name = ?', (name,)).fetchone()
        return json.loads(row[0]) if row else default

    def set(self, name: str, value: Any) -> None:
        """Keep a JSON value."""
        with self._db:
            self._db.execute(
                'INSERT OR REPLACE INTO settings VALUES (?, ?)', (name, json.dumps(value))
            )

    def videos(self, state: str | None = None) -> list[VideoRow]:
        """The videos, or those in one state, by path."""
        return self._select('WHERE ?1 IS NULL OR state = ?1 ORDER BY path', state)

    def by_key(self, keys: Iterable[str]) -> dict[str, VideoRow]:
        """Those of some videos that are in the index."""
        which = "WHERE state = 'indexed' AND key IN (SELECT value FROM json_each(?))"
        return {row.key: row for row in self._select(which, json.dumps(list(keys)))}

    def _select(self, which: str, value: str | None) -> list[VideoRow]:
        columns = "id, path, key, coalesce(text, ''), state, duration, error"
        tables = 'videos LEFT JOIN texts ON texts.video = id'
        rows = self._db.execute(f'SELECT {columns} FROM {tables} {which}', (value,))
        return [VideoRow(*row) for row in rows]

    def put(
        self,
        path: str,
        key: str,
        text: str,
        duration: float | None,
        lines: Sequence[TimedLine] = (),
        error: str | None = None,
    ) -> None:
        """A video that was encoded, or why it could not be; takes the place of what was there."""
        with self._db:
            self._forget(path, key)
            state = 'encoded' if error is None else 'broken'
            video = self._db.execute(
                'INSERT INTO videos (path, key, state, duration, error) VALUES (?, ?, ?, ?, ?)',
                (path, key, state, duration, error),
            ).lastrowid
            self._db.execute('INSERT INTO texts VALUES (?, ?)', (video, text))
            self._put_lines(video, lines)

    def _put_lines(self, video: int | None, lines: Sequence[TimedLine]) -> None:
        self._db.executemany(
            'INSERT INTO lines (video, start, "end", source, text) VALUES (?, ?, ?, ?, ?)',
            [(video, line.start, line.end, line.source, line.text) for line in lines],
        )

    def unheard(self, model: str) -> list[VideoRow]:
        """Videos without subtitles that this model has not listened to, by path."""
        return self._select(
            "LEFT JOIN heard ON heard.video = id WHERE state != 'broken' AND CASE "
            'WHEN model IS NULL THEN id NOT IN (SELECT video FROM lines) ELSE model != ? END '
            'ORDER BY path',
            model,
        )

    def put_speech(self, video: int, model: str, lines: Sequence[TimedLine]) -> None:
        """What a model heard in a video, in place of what another one did."""
        with self._db:
            self._db.execute('DELETE FROM lines WHERE video = ?', (video,))
            self._put_lines(video, lines)
            self._db.execute('INSERT OR REPLACE INTO heard VALUES (?, ?)', (video, model))

    def forget(self, path: str) -> None:
        """A video that is gone."""
        with self._db:
            self._forget(path, '')

    def _forget(self, path: str, but: str) -> None:
        """Forget a video, and have its key leave the index unless it is ``but``."""
        select = 'SELECT key FROM videos WHERE path = ?1 AND key != ?2 AND state != ?3'
        self._db.execute(f'INSERT OR IGNORE INTO gone {select}', (path, but, 'broken'))
        self._db.execute('DELETE FROM gone WHERE key = ?', (but,))
        self._db.execute('DELETE FROM videos WHERE path = ?', (path,))

    def mark_indexed(self, keys: Sequence[str]) -> None:
        """These are in the index now."""
        with self._db:
            self._db.executemany(
                "UPDATE videos SET state = 'indexed' WHERE key = ?", [(key,) for key in keys]
            )

    def gone(self) -> list[str]:
        """Keys that must leave the index, of no video that is still there."""
        rows = self._db.execute(
            'SELECT key FROM gone WHERE key NOT IN (SELECT key FROM videos) ORDER BY key'
        )
        return [row[0] for row in rows]

    def drop_gone(self) -> None:
        """They have left."""
        with self._db:
            self._db.execute('DELETE FROM gone')

    def count_lines(self) -> int:
        """Lines of all videos."""
        return self._db.execute('SELECT count(*) FROM lines').fetchone()[0]

    def find_lines(self, sentence: str, limit: int = 50) -> list[LineHit]:
        """Lines that hold words of a sentence, best first by BM25.

        Args:
            sentence: any text; its words are searched, its punctuation is not, nor what is frequent
                where something rarer is there.
            limit: lines at most.
        """
        words = [word for word in _WORD.findall(sentence) if len(word) > 2] or _WORD.findall(
            sentence
        )
        if not words:
            return []
        rows = self._db.execute(
            'WITH best AS (SELECT rowid AS line, rank FROM words WHERE words MATCH ?) '
            # A video and a link to it have one key, and may have the same subtitles.
            'SELECT key, start, "end", source, lines.text, rank FROM best '
            'JOIN lines ON lines.id = best.line JOIN videos ON videos.id = lines.video '
            'GROUP BY key, start, "end", lines.text ORDER BY rank, min(line) LIMIT ?',
            (' OR '.join(f'"{word}"' for word in self._rarer(words, limit)), limit),
        )
        return [LineHit(*row) for row in rows]

    def _rarer(self, words: list[str], few: int) -> list[str]:
        """The words that are not frequent, or all if all are; ``few`` lines are never many."""
        most = max(few, int(FREQUENT * self.count_lines()))
        count = 'SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)'
        rarer = [
            word
            for word in words
            if self._db.execute(count, (f'"{word}"', most + 1)).fetchone()[0] <= most
        ]
        return rarer or words
