"""What is worth remembering between runs, in SQLite.

Nothing here is the only copy of anything: a database that cannot be read is put aside and begun anew.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS model_files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, metadata BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""

_log = logging.getLogger("studiolo.library")


class State:
    """The database. Its methods block for a moment; they may be called from any thread.

    Parameters:
        path: the file; made when something is first remembered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def metadata(self) -> dict[str, tuple[int, int, bytes]]:
        """What is known of files: by path, their size and mtime (ns) when they were read, and what was read."""
        rows = self._do(lambda db: db.execute("SELECT path, size, mtime_ns, metadata FROM model_files").fetchall())
        return {path: (size, mtime_ns, metadata) for path, size, mtime_ns, metadata in rows or []}

    def put_metadata(self, path: str, size: int, mtime_ns: int, metadata: bytes) -> None:
        """Remember what was read from a file."""
        row = (path, size, mtime_ns, metadata)
        self._do(lambda db: db.execute("INSERT OR REPLACE INTO model_files VALUES (?, ?, ?, ?)", row))

    def forget_metadata(self, paths: list[str]) -> None:
        """Forget files that are no longer there."""
        self._do(lambda db: db.executemany("DELETE FROM model_files WHERE path = ?", [(path,) for path in paths]))

    def remember(self, key: str, value: str) -> None:
        """Keep a value."""
        self._do(lambda db: db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (key, value)))

    def recall(self, key: str) -> str | None:
        """A kept value."""
        row = self._do(lambda db: db.execute("SELECT value FROM memory WHERE key = ?", (key,)).fetchone())
        return row[0] if row else None

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._lock:
            try:
                with self._open() as db:
                    return work(db)
            except sqlite3.OperationalError as error:
                # A full disk, no permission, a lock held too long: studiolo works without its memory.
                _log.warning("%s cannot be used now: %s", self._path, error)
                return None
            except sqlite3.DatabaseError as error:
                self._put_aside(error)
                with self._open() as db:
                    return work(db)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from None
            db = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                if db.execute("PRAGMA user_version").fetchone()[0] > SCHEMA_VERSION:
                    raise sqlite3.OperationalError("it was written by a newer version of studiolo")
                db.executescript(_SCHEMA)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            except BaseException:
                db.close()
                raise
            self._connection = db
        return self._connection

    def _put_aside(self, error: Exception) -> None:
        aside = self._path.with_suffix(".db.damaged")
        _log.warning("%s is damaged (%s); it is put aside as %s", self._path, error, aside)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with contextlib.suppress(OSError):
            self._path.replace(aside)
        for extra in ("-wal", "-shm"):
            self._path.with_name(self._path.name + extra).unlink(missing_ok=True)
