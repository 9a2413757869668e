"""Records by kind and id, which belong to the API token that made them and expire.

SQLAlchemy Core speaks to SQLite (a file in the home, by default) or PostgreSQL (by URL). A record is written before the
call that writes it returns: ending the process at any moment loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ..errors import StoreError
from ..paths import Home
from ..settings import StoreSettings
from .record import Record

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .database import Database

T = TypeVar("T")

MAX_BODY_BYTES = 16 * 2**20
"""The size of a record's body at most."""


class Store:
    """The records of a server.

    Calls run in one thread, in their order. The database is opened by the first of them, and a file of SQLite is not
    looked at before: to import SQLAlchemy takes a fifth of the time in which a server starts.

    Parameters:
        url: of the database, as SQLAlchemy has it: ``sqlite:////path`` or ``postgresql+psycopg://...``.
        keep_days: how long a record is kept after it was last written.
        max_records: records of one owner at most; the oldest are removed.

    Raises:
        ConfigError: the URL is malformed, or its driver is not installed.
    """

    def __init__(self, url: str, *, keep_days: float, max_records: int) -> None:
        self._url = url
        self._keep_days = keep_days
        self.max_records = max_records
        self._thread = ThreadPoolExecutor(1, "store")
        self._database: Database | None = None
        if not url.startswith("sqlite:///"):
            self._connect()

    async def put(self, kind: str, owner: str, record_id: str, body: bytes) -> None:
        """Write a record, in place of an earlier one of this id. It is on disk when this returns.

        Raises:
            StoreError: it cannot be written.
        """
        if len(body) > MAX_BODY_BYTES:
            raise StoreError(f"A {kind} of {len(body)} bytes is too large to be stored", cause="16 MiB are the limit")
        await self._run(lambda database: database.put(kind, owner, record_id, body))

    async def get(self, kind: str, owner: str, record_id: str) -> Record | None:
        """Return a record; ``None`` where there is none of this owner. Raise :class:`StoreError`."""
        return await self._run(lambda database: database.get(kind, owner, record_id))

    async def delete(self, kind: str, owner: str, record_id: str) -> bool:
        """Remove a record. Return whether there was one. Raise :class:`StoreError`."""
        return await self._run(lambda database: database.delete(kind, owner, record_id))

    async def list(
        self, kind: str, owner: str, *, limit: int, after: str | None = None, newest_first: bool = True
    ) -> list[Record]:
        """Return records in the order in which they were first written. Raise :class:`StoreError`.

        Parameters:
            after: the id of the record before the first one.
        """
        return await self._run(lambda database: database.list(kind, owner, limit, after, newest_first))

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` returns, which runs in the store's thread. Its changes are on disk when this returns.

        Raises:
            StoreError: the database cannot be used.
            Exception: what ``work`` raises; none of its changes are kept.
        """
        return await self._run(lambda database: database.transaction(work))

    async def close(self) -> None:
        """Finish what was begun, and close the database."""
        self._thread.shutdown(wait=True)
        if self._database is not None:
            self._database.close()

    async def _run(self, work: Callable[[Database], T]) -> T:
        def guarded() -> T:
            from .database import Failure

            database = self._database or self._connect()
            try:
                database.prepare()
                return work(database)
            except Failure as error:
                cause = str(getattr(error, "orig", None) or error).splitlines()[0]
                raise StoreError(
                    f"The store {database.where} cannot be used",
                    cause=cause,
                    suggestion="Check that its place can be written and is not full, or set store.url in config.toml.",
                ) from None

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _connect(self) -> Database:
        from .database import Database

        self._database = Database(self._url, self._keep_days, self.max_records)
        return self._database


def open_store(home: Home, settings: StoreSettings) -> Store:
    """Return the store that the settings name. Raise :class:`ConfigError` where it cannot be one."""
    url = settings.url or f"sqlite:///{home.root.absolute() / 'store.db'}"
    return Store(url, keep_days=settings.keep_days, max_records=settings.max_records)
