"""The tables of the store, in SQLite or PostgreSQL, by SQLAlchemy Core. Every call blocks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc, pool

from ..errors import ConfigError, StoreError
from . import tables
from .record import Record

T = TypeVar("T")

VERSION = 1
"""The version of the tables. A store of a newer one is refused, an older one is changed when it is opened."""

SWEEP_SEC = 600.0
"""How often expired records are removed."""

Failure = exc.SQLAlchemyError

_log = logging.getLogger("studiolo.store")

_records, _version = tables.records, tables.version


class Database:
    """The records, and the connections to them.

    Parameters:
        url: of the database, as SQLAlchemy has it: ``sqlite:////path`` or ``postgresql+psycopg://...``.
        keep_days: how long a record is kept after it was last written.
        max_records: records of one owner at most; the oldest are removed.

    Raises:
        ConfigError: the URL is malformed, or its driver is not installed.
    """

    def __init__(self, url: str, keep_days: float, max_records: int) -> None:
        try:
            parsed = sa.make_url(url)
            self._engine = sa.create_engine(parsed, **_options(parsed))
        except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(
                "The setting store.url cannot be used",
                cause=str(error).splitlines()[0],
                suggestion="Use sqlite:///PATH, or postgresql+psycopg://USER@HOST/NAME with the extra 'postgres'.",
            ) from None
        self.where = parsed.render_as_string(hide_password=True)
        self._keep_sec = keep_days * 86400
        self._max_records = max_records
        self._is_open = False
        self._swept_at = 0.0

    def prepare(self) -> None:
        """Make the tables where they are missing, and remove expired records where it is time."""
        if not self._is_open:
            self._open()
        if time.monotonic() - self._swept_at > SWEEP_SEC:
            self._sweep()

    def put(self, kind: str, owner: str, record_id: str, body: bytes) -> None:
        """Write a record, in place of an earlier one of this id."""
        now = time.time()
        values = {"expires": now + self._keep_sec, "body": body}
        same = (_records.c.kind == kind) & (_records.c.owner == owner) & (_records.c.id == record_id)
        of_owner = (_records.c.kind == kind) & (_records.c.owner == owner)
        with self._engine.begin() as connection:
            if connection.execute(sa.update(_records).where(same).values(**values)).rowcount:
                return
            key = {"kind": kind, "owner": owner, "id": record_id, "created": now}
            connection.execute(sa.insert(_records).values(**key, **values))
            newest = sa.select(_records.c.number).where(of_owner).order_by(_records.c.number.desc())
            oldest_kept = connection.execute(newest.offset(self._max_records - 1).limit(1)).scalar()
            if oldest_kept is not None:
                connection.execute(sa.delete(_records).where(of_owner & (_records.c.number < oldest_kept)))

    def get(self, kind: str, owner: str, record_id: str) -> Record | None:
        """Return a record; ``None`` where there is none of this owner."""
        found = self._select(sa.select(_records).where(_of(kind, owner) & (_records.c.id == record_id)))
        return found[0] if found else None

    def delete(self, kind: str, owner: str, record_id: str) -> bool:
        """Remove a record. Return whether there was one."""
        return self._execute(sa.delete(_records).where(_of(kind, owner) & (_records.c.id == record_id))) > 0

    def list(self, kind: str, owner: str, limit: int, after: str | None, newest_first: bool) -> list[Record]:
        """Return records in the order in which they were first written, those after the id ``after``."""
        where = _of(kind, owner)
        if after is not None:
            numbers = sa.select(_records.c.number).where(_of(kind, owner) & (_records.c.id == after))
            number = numbers.scalar_subquery()
            where &= _records.c.number < number if newest_first else _records.c.number > number
        order = _records.c.number.desc() if newest_first else _records.c.number
        return self._select(sa.select(_records).where(where).order_by(order).limit(limit))

    def transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """Return what ``work`` returns. Where it raises, none of its changes are kept."""
        with self._engine.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _open(self) -> None:
        path = self._engine.url.database if self._engine.dialect.name == "sqlite" else None
        if path:
            with suppress(OSError):  # what is wrong with it is reported below
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # only its owner can read it
        try:
            tables.metadata.create_all(self._engine)
        except Failure:
            tables.metadata.create_all(self._engine)  # another process may have made them meanwhile
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(_version.c.version)).scalar()
            if found is None:
                connection.execute(sa.insert(_version).values(version=VERSION))
            elif found > VERSION:
                raise StoreError(
                    f"The store {self.where} was made by a newer version of studiolo",
                    suggestion="Use that version, or another store: store.url in config.toml.",
                )
        self._is_open = True

    def _select(self, statement: sa.Select[Any]) -> list[Record]:
        with self._engine.connect() as connection:
            rows: Sequence[Any] = connection.execute(statement).all()
        return [Record(id=row.id, created=row.created, body=bytes(row.body)) for row in rows]

    def _execute(self, statement: sa.Delete) -> int:
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount

    def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        gone = self._execute(sa.delete(_records).where(_records.c.expires <= time.time()))
        if gone:
            _log.info("removed %d expired records", gone)


def _of(kind: str, owner: str) -> sa.ColumnElement[bool]:
    return (_records.c.kind == kind) & (_records.c.owner == owner) & (_records.c.expires > time.time())


def _options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() != "sqlite":
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
    return {"connect_args": {"timeout": 10}, "pool_pre_ping": False, "poolclass": _DurablePool}


class _DurablePool(pool.QueuePool):
    """Connections to SQLite that write to disk before they return, and let readers read meanwhile."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        event.listen(self, "connect", self._prepare)

    @staticmethod
    def _prepare(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()
