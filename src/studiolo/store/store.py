"""Records by kind and id, which belong to the API token that made them and expire.

SQLAlchemy Core speaks to SQLite (a file in the home, by default) or PostgreSQL (by URL). A record is written before the
call that writes it returns: ending the process at any moment loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy import event, exc, pool

from ..errors import ConfigError, StoreError

T = TypeVar("T")

VERSION = 1
"""The version of the tables. A store of a newer one is refused, an older one is changed when it is opened."""

SWEEP_SEC = 600.0
"""How often expired records are removed."""

MAX_BODY_BYTES = 16 * 2**20
"""The size of a record's body at most."""

_log = logging.getLogger("studiolo.store")

_metadata = sa.MetaData()
_records = sa.Table(
    "records",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("id", sa.String(100), nullable=False),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("kind", "owner", "id"),
    sa.Index("by_expiry", "expires"),
)
_version = sa.Table("version", _metadata, sa.Column("version", sa.Integer, nullable=False))


class Record(Struct, frozen=True, kw_only=True):
    """A stored record.

    Parameters:
        id: unique among the records of its kind and owner.
        created: when it was first written, in seconds since 1970.
        body: its content.
    """

    id: str
    created: float
    body: bytes


class Store:
    """The records of a server.

    Calls run in one thread, in their order. The database is opened by the first of them.

    Parameters:
        url: of the database, as SQLAlchemy has it: ``sqlite:////path`` or ``postgresql+psycopg://...``.
        keep_days: how long a record is kept after it was last written.
        max_records: records of one owner at most; the oldest are removed.

    Raises:
        ConfigError: the URL is malformed, or its driver is not installed.
    """

    def __init__(self, url: str, *, keep_days: float, max_records: int) -> None:
        try:
            parsed = sa.make_url(url)
            self._engine = sa.create_engine(parsed, **_options(parsed))
        except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(
                "The setting store.url cannot be used",
                cause=str(error).splitlines()[0],
                suggestion="Use sqlite:///PATH, or postgresql+psycopg://USER@HOST/NAME with the extra 'postgres'.",
            ) from None
        self._where = parsed.render_as_string(hide_password=True)
        self._keep_sec = keep_days * 86400
        self._max_records = max_records
        self._thread = ThreadPoolExecutor(1, "store")
        self._is_open = False
        self._swept_at = 0.0

    async def put(self, kind: str, owner: str, record_id: str, body: bytes) -> None:
        """Write a record, in place of an earlier one of this id. It is on disk when this returns.

        Raises:
            StoreError: it cannot be written.
        """
        if len(body) > MAX_BODY_BYTES:
            raise StoreError(f"A {kind} of {len(body)} bytes is too large to be stored", cause="16 MiB are the limit")
        await self._run(lambda: self._put(kind, owner, record_id, body))

    async def get(self, kind: str, owner: str, record_id: str) -> Record | None:
        """Return a record; ``None`` where there is none of this owner. Raise :class:`StoreError`."""
        where = self._of(kind, owner) & (_records.c.id == record_id)
        found = await self._run(lambda: self._select(sa.select(_records).where(where)))
        return found[0] if found else None

    async def delete(self, kind: str, owner: str, record_id: str) -> bool:
        """Remove a record. Return whether there was one. Raise :class:`StoreError`."""
        where = self._of(kind, owner) & (_records.c.id == record_id)
        return await self._run(lambda: self._execute(sa.delete(_records).where(where)) > 0)

    async def list(
        self, kind: str, owner: str, *, limit: int, after: str | None = None, newest_first: bool = True
    ) -> list[Record]:
        """Return records in the order in which they were first written. Raise :class:`StoreError`.

        Parameters:
            after: the id of the record before the first one.
        """

        def look() -> list[Record]:
            where = self._of(kind, owner)
            if after is not None:
                numbers = sa.select(_records.c.number).where(self._of(kind, owner) & (_records.c.id == after))
                number = numbers.scalar_subquery()
                where &= _records.c.number < number if newest_first else _records.c.number > number
            order = _records.c.number.desc() if newest_first else _records.c.number
            return self._select(sa.select(_records).where(where).order_by(order).limit(limit))

        return await self._run(look)

    async def close(self) -> None:
        """Finish what was begun, and close the database."""
        self._thread.shutdown(wait=True)
        self._engine.dispose()

    @staticmethod
    def _of(kind: str, owner: str) -> sa.ColumnElement[bool]:
        return (_records.c.kind == kind) & (_records.c.owner == owner) & (_records.c.expires > time.time())

    # These methods block. They run in the thread.

    async def _run(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                if not self._is_open:
                    self._open()
                if time.monotonic() - self._swept_at > SWEEP_SEC:
                    self._sweep()
                return work()
            except exc.SQLAlchemyError as error:
                cause = str(getattr(error, "orig", None) or error).splitlines()[0]
                raise StoreError(
                    f"The store {self._where} cannot be used",
                    cause=cause,
                    suggestion="Check that its place can be written and is not full, or set store.url in config.toml.",
                ) from None

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _open(self) -> None:
        with self._engine.begin() as connection:
            _metadata.create_all(connection)
            found = connection.execute(sa.select(_version.c.version)).scalar()
            if found is None:
                connection.execute(sa.insert(_version).values(version=VERSION))
            elif found > VERSION:
                raise StoreError(
                    f"The store {self._where} was made by a newer version of studiolo",
                    suggestion="Use that version, or another store: store.url in config.toml.",
                )
        self._is_open = True

    def _put(self, kind: str, owner: str, record_id: str, body: bytes) -> None:
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
