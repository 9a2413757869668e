"""The contract of a dialect: a wire protocol that a server speaks on top of a host.

A dialect only translates: it decodes its clients' messages into requests of the domain, and encodes the host's results
as messages of its own. Other packages add dialects by entry point, in the group ``studiolo.dialects``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from litestar.types import ControllerRouterHandler

from ..errors import StudioloError
from ..host.host import Host

if TYPE_CHECKING:
    from ..store.store import Store
    from .http.endpoint import Endpoint


class Credentials(Protocol):
    """The API tokens that a server accepts."""

    def accepts(self, identifier: str, passkey: str) -> bool:
        """Return whether ``identifier`` and ``passkey`` form an accepted API token."""
        ...

    def identify(self, token: str) -> str | None:
        """Return the identifier of an accepted API token; ``None`` for any other text."""
        ...

    def has(self, identifier: str) -> bool:
        """Return whether an API token with this identifier is accepted."""
        ...


class Load:
    """What a server answers over HTTP at the moment.

    Attributes:
        requests: how many.
    """

    def __init__(self) -> None:
        self.requests = 0


@dataclass(frozen=True)
class Serving:
    """The server that a dialect is mounted on.

    Parameters:
        host: the host that serves the requests.
        is_daemon: whether the server runs in the background.
        credentials: the API tokens; ``None`` if clients need none.
        store: keeps responses and chats; ``None`` where none are kept.
        load: what it answers at the moment.
    """

    host: Host
    is_daemon: bool = False
    credentials: Credentials | None = None
    store: Store | None = None
    load: Load = field(default_factory=Load)

    def owner(self, headers: Mapping[str, str]) -> str | None:
        """Return the identifier of the API token in a request's headers; ``None`` where none is accepted.

        It may be in ``authorization`` (with ``Bearer``) or in ``x-api-key``. Without API tokens, any value will do, and
        the identifier is empty.
        """
        if self.credentials is None:
            return ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        tokens = [token.strip()] if scheme.lower() == "bearer" else []
        tokens.append(headers.get("x-api-key", "").strip())
        return next((found for each in tokens if (found := self.credentials.identify(each)) is not None), None)


@dataclass(frozen=True)
class ErrorAnswer:
    """The HTTP response that reports an error: its status, its JSON body, and headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Dialect(Protocol):
    """One wire protocol.

    Parameters:
        max_message_bytes: the size of the largest WebSocket message accepted; 0 for a dialect without WebSockets.
        prefixes: the paths that are the dialect's, with everything below them, or with ``$`` at the end alone; of
            several, the longest counts. The dialect with the prefix ``/`` gets what no other has.
        header: a header by which its clients can be distinguished on paths that another dialect has as well; ``None``
            for none.
        shared_prefix: where those paths are.
        authenticates: whether its routes check API tokens themselves; the server does it for all others.
        endpoints: its routes over HTTP, for the documentation.
    """

    max_message_bytes: int
    prefixes: Sequence[str]
    header: str | None
    shared_prefix: str
    authenticates: bool
    endpoints: Sequence[Endpoint[Any]]

    def routes(self, serving: Serving) -> Sequence[ControllerRouterHandler]:
        """Return Litestar's handlers of the dialect's paths."""
        ...

    def error(self, error: StudioloError, status: int) -> ErrorAnswer:
        """Return the HTTP response that reports ``error``.

        Parameters:
            status: the error's HTTP status, or the refusal's by the server.
        """
        ...
