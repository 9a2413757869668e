"""What every page works with: a client of the host, the stored conversations, the home folder."""

from __future__ import annotations

from dataclasses import dataclass

from nicegui import ui

from ..errors import AuthenticationError
from ..page_contract import OWNER, ApiTokens, PageContext
from ..sdk.async_client import AsyncClient
from ..store.conversations import Conversations


@dataclass(frozen=True)
class Backend:
    """What the pages have of the server.

    Parameters:
        context: what the server gave to the pages.
        client: a connected client of the host, in the event loop of the pages.
    """

    context: PageContext
    client: AsyncClient

    def conversations(self, owner: str) -> Conversations:
        """Return the stored conversations of an owner; see :func:`owner_of_page`."""
        return Conversations(self.context.store, owner)

    def may_use_mcp_json(self, owner: str) -> bool:
        """Return whether an owner may use the servers of ``mcp.json``."""
        return not owner or self.context.shares_mcp_json

    def may_change_settings(self, owner: str) -> bool:
        """Return whether an owner may change ``config.toml``, which all clients and models are under."""
        return not owner

    def api_tokens(self, owner: str) -> ApiTokens | None:
        """Return what changes the API tokens, where there are any.

        Raises:
            AuthenticationError: the owner is an API token, which could outlive itself by another one.
        """
        if owner:
            raise AuthenticationError(
                "API tokens are changed by the user of the server's computer alone",
                suggestion="Run studiolo ui there, and open its link.",
            )
        return self.context.api_tokens


_current: list[Backend] = []


def use_backend(backend: Backend | None) -> None:
    """Give all pages this backend. NiceGUI has one app a process, and so have the pages."""
    _current[:] = [] if backend is None else [backend]


def backend() -> Backend:
    """Return the backend of the pages, while they are served."""
    return _current[0]


def owner_of_page() -> str:
    """Return the owner of the session in which the current page was opened; empty for the user of this machine."""
    return ui.context.client.request.scope[OWNER]
