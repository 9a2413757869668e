"""The arguments of an endpoint's function: the context of the request, and the channel if it has one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...host.host import Host
from ...protocol.models import Domain

R = TypeVar("R")

EMBEDDED = "embedded"
"""The client name of the embedded transport, which runs in the host's process."""

_NEWER_CLIENT = re.compile(r"guest:.*|[A-Za-z0-9]{8}", re.DOTALL)

MAX_REQUESTS = 1000
"""Unread messages of the client per channel at most."""


@dataclass(frozen=True)
class Context:
    """The host that serves a request, and the client that sent it.

    Parameters:
        host: the host that serves the request.
        namespace: the namespace of the socket.
        is_daemon: whether the server runs in the background.
        client: the identifier that the client gives itself, the same on all of its sockets.
        is_official_python: whether the client is LM Studio's for Python.
        accepts: returns whether an identifier and passkey form an accepted API token; ``None`` if none is required.
    """

    host: Host
    namespace: str
    is_daemon: bool = False
    client: str = EMBEDDED
    is_official_python: bool = False
    accepts: Callable[[str, str], bool] | None = None

    @property
    def takes_all_logs(self) -> bool:
        """Whether the client can decode every kind of log event.

        LM Studio's TypeScript SDK 1.5.0 decodes one kind; its identifier is 24 random characters. Newer clients, and
        studiolo's, have the identifier of a guest or of an API token.
        """
        return self.client == EMBEDDED or _NEWER_CLIENT.fullmatch(self.client) is not None

    @property
    def domain(self) -> Domain:
        """The kind of models in the namespace."""
        return "embedding" if self.namespace == "embedding" else "llm"


class ServerChannel(Generic[R]):
    """The host's end of a channel.

    ``on_cancel`` is called when the client cancels; while it is ``None``, the endpoint's function is cancelled instead.
    ``requests`` holds the client's messages of the type ``request``, on channels that accept other messages as well.
    """

    def __init__(
        self, send: Callable[[R], Awaitable[None]], warn: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        self.send = send
        self._warn = warn
        self.on_cancel: Callable[[], None] | None = None
        self.request: Any = None
        self.requests: asyncio.Queue[Any] = asyncio.Queue(MAX_REQUESTS)

    async def warn(self, warning: str) -> None:
        """Send a communication warning, which clients log."""
        if self._warn is not None:
            await self._warn(warning)
