"""The state that the library keeps between runs, in one SQLite file.

All of it is replaceable: metadata can be read again, and the rest is convenience. So an unusable file is never a reason
to fail: a damaged one is renamed, and if the folder is not writable, the state of this process is in memory only.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_VERSION = 2
"""Kept in ``PRAGMA user_version``. Raise it when a table is added (2: ``tensor_shapes``), or changes its meaning."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS model_files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, metadata BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tensor_shapes (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, shapes BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class State:
    """The database at ``path``, created at the first write.

    Methods block for a moment: call them from a thread. They can be called from any thread, and any number of processes
    can share the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._in_memory = False
        self._inode: int | None = None

    def model_files(self) -> dict[str, tuple[int, int, bytes]]:
        """Return the rows of model files by path: size, modification time in ns, and content."""
        rows = self._read_all("SELECT path, size, mtime_ns, metadata FROM model_files", ())
        return {path: (size, mtime_ns, content) for path, size, mtime_ns, content in rows}

    def put_model_files(self, rows: Iterable[tuple[str, int, int, bytes]]) -> None:
        """Insert or replace rows of path, size, modification time in ns, and content."""
        self._write_all("INSERT OR REPLACE INTO model_files VALUES (?, ?, ?, ?)", list(rows))

    def forget_model_files(self, paths: Iterable[str]) -> None:
        """Delete the rows of the files at ``paths``."""
        rows = [(path,) for path in paths]
        self._write_all("DELETE FROM model_files WHERE path = ?", rows)
        self._write_all("DELETE FROM tensor_shapes WHERE path = ?", rows)

    def tensor_shapes(self, path: str) -> tuple[int, int, bytes] | None:
        """Return the row of the tensors of a model file: size, modification time in ns, and shapes."""
        rows = self._read_all("SELECT size, mtime_ns, shapes FROM tensor_shapes WHERE path = ?", (path,))
        return rows[0] if rows else None

    def put_tensor_shapes(self, path: str, size: int, mtime_ns: int, shapes: bytes) -> None:
        """Insert or replace the row of the tensors of a model file."""
        self._write_all("INSERT OR REPLACE INTO tensor_shapes VALUES (?, ?, ?, ?)", [(path, size, mtime_ns, shapes)])

    def remember(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``."""
        self._write_all("INSERT OR REPLACE INTO memory VALUES (?, ?)", [(key, value)])

    def recall(self, key: str) -> str | None:
        """Return the value stored under ``key``."""
        rows = self._read_all("SELECT value FROM memory WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def recall_all(self, prefix: str) -> dict[str, str]:
        """Return the values whose keys begin with ``prefix``, by the rest of the key."""
        rows = self._read_all("SELECT key, value FROM memory WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))
        return {key[len(prefix) :]: value for key, value in rows}

    def close(self) -> None:
        """Close the file. The next method call opens it again."""
        with self._lock:
            self._disconnect()

    def _read_all(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        with self._lock:
            if self._connection is None and not self.path.exists():
                return []
            return self._do(lambda connection: connection.execute(sql, parameters).fetchall())

    def _write_all(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany(sql, rows)

        if rows:
            with self._lock:
                self._do(write)

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return action(self._open())
        except sqlite3.OperationalError as error:  # a full disk, no permission, locked for too long
            self._fall_back(str(error))
        except sqlite3.DatabaseError as error:
            self._move_aside(str(error))
        try:
            return action(self._open())
        except sqlite3.DatabaseError as error:
            self._fall_back(str(error))
            return action(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self._in_memory:
            connection = self._connection = sqlite3.connect(":memory:", check_same_thread=False)
            connection.executescript(_SCHEMA)
            return connection
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        connection = self._connection = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
        self._inode = self.path.stat().st_ino
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        self._migrate(connection)
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == SCHEMA_VERSION:
            return
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            version = _version(connection)  # again, now that no other process can change it
            if version > SCHEMA_VERSION:
                raise sqlite3.OperationalError(f"it was written by a newer studiolo (schema {version})")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _fall_back(self, reason: str) -> None:
        log.warning("%s cannot be used (%s): this run keeps its state in memory only", self.path, reason)
        self._disconnect()
        self._in_memory = True

    def _move_aside(self, reason: str) -> None:
        self._disconnect()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino != self._inode:
                return  # another process has replaced it
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            log.warning("%s is damaged (%s): renamed to %s and replaced by an empty one", self.path, reason, aside.name)
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]
