"""The contract of the pages: what a server gives to the program that makes them, which is a client of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .paths import Home
from .store.store import Store

GROUP = "studiolo.pages"
"""The entry point group by which other packages make pages."""

BUILT_IN = {"ui": ".ui.app:pages"}

PREFIX = "/ui"
"""The path of the pages. Everything below is theirs."""

OWNER = "studiolo.owner"
"""The key of a request's scope with the owner of its session: the identifier of an API token, or empty for the user
of this machine."""


@dataclass(frozen=True)
class ListedToken:
    """What is known of an API token beside its passkey.

    Parameters:
        identifier: its first part.
        name: what it is for, as the one who created it wrote; may be empty.
        created: the day, as in ``2026-01-31``; empty where the file does not say.
    """

    identifier: str
    name: str = ""
    created: str = ""


class ApiTokens(Protocol):
    """Changes the API tokens that the server accepts. Every method reads or writes a file, and raises ``ConfigError``.

    It has the rights of the user of this machine: a page may use it in a session of that user alone.
    """

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def listed(self) -> list[ListedToken]:
        """Return what is known of each API token."""
        ...

    def create(self, name: str) -> str:
        """Add an API token, and return it whole: it is the only time."""
        ...

    def revoke(self, identifier: str) -> None:
        """Remove an API token: no client is accepted with it from now on."""
        ...


@dataclass(frozen=True)
class PageContext:
    """What the pages are made from.

    Parameters:
        address: ``host:port`` of the host, for a client of the SDK.
        api_token: what that client authenticates with.
        home: the home folder.
        store: the server's store, which has the conversations.
        address_for_users: ``http://host:port`` of the server, for examples that the user copies.
        needs_token: whether other clients of the server need an API token.
        shares_mcp_json: whether clients with an API token may use the servers of ``mcp.json``; the user of this machine
            always may.
        api_tokens: changes the API tokens; ``None`` where clients need none.
    """

    address: str
    api_token: str
    home: Home
    store: Store
    address_for_users: str
    needs_token: bool = False
    shares_mcp_json: bool = False
    api_tokens: ApiTokens | None = None


class Pages(Protocol):
    """Makes the pages."""

    def __call__(self, context: PageContext) -> AbstractAsyncContextManager[Any]:
        """Return a context manager of an ASGI app, which answers every request below :data:`PREFIX`."""
        ...
