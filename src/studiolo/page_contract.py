"""The contract of the pages: what a server gives to the program that makes them, which is a client of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
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
    """

    address: str
    api_token: str
    home: Home
    store: Store
    address_for_users: str
    needs_token: bool = False
    shares_mcp_json: bool = False


class Pages(Protocol):
    """Makes the pages."""

    def __call__(self, context: PageContext) -> AbstractAsyncContextManager[Any]:
        """Return a context manager of an ASGI app, which answers every request below :data:`PREFIX`."""
        ...
