"""The contract of a dialect: a wire protocol that a server speaks on top of a host.

A dialect only translates: it decodes its clients' messages into requests of the domain, and encodes the host's results
as messages of its own. Other packages add dialects by entry point, in the group ``studiolo.dialects``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from litestar.types import ControllerRouterHandler

from ..errors import StudioloError
from ..host.host import Host


class Credentials(Protocol):
    """The API tokens that a server accepts."""

    def accepts(self, identifier: str, passkey: str) -> bool:
        """Return whether ``identifier`` and ``passkey`` form an accepted API token."""
        ...

    def accepts_bearer(self, header: str | None) -> bool:
        """Return whether ``header``, the value of ``Authorization``, holds ``Bearer`` and an accepted API token."""
        ...


@dataclass(frozen=True)
class Serving:
    """The server that a dialect is mounted on.

    Parameters:
        host: the host that serves the requests.
        is_daemon: whether the server runs in the background.
        credentials: the API tokens; ``None`` if clients need none.
    """

    host: Host
    is_daemon: bool = False
    credentials: Credentials | None = None


class Dialect(Protocol):
    """One wire protocol.

    Parameters:
        max_message_bytes: the size of the largest WebSocket message accepted; 0 for a dialect without WebSockets.
    """

    max_message_bytes: int

    def routes(self, serving: Serving) -> Sequence[ControllerRouterHandler]:
        """Return Litestar's handlers of the dialect's paths."""
        ...

    def error_body(self, error: StudioloError, status: int) -> Any:
        """Return the JSON body of the HTTP response that reports ``error`` with this status."""
        ...
