"""What an endpoint's function is given."""

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
"""The name of a client in the same process."""

_LATER_CLIENT = re.compile(r"guest:.*|[A-Za-z0-9]{8}", re.DOTALL)

MAX_REQUESTS = 1000
"""Messages of a client that may wait on one channel."""


@dataclass(frozen=True)
class Context:
    """Where a request comes from.

    Parameters:
        host: the host that answers.
        namespace: the namespace whose socket it came by.
        is_daemon: whether the host serves in the background.
        client: the client's name for itself, the same on all of its sockets.
        is_official_python: whether the client is LM Studio's for Python.
        accepts: whether a client's identifier and passkey are an accepted API token; ``None`` if none is needed.
    """

    host: Host
    namespace: str
    is_daemon: bool = False
    client: str = EMBEDDED
    is_official_python: bool = False
    accepts: Callable[[str, str], bool] | None = None

    @property
    def takes_all_logs(self) -> bool:
        """Whether the client knows every kind of log event.

        LM Studio's TypeScript SDK 1.5.0, which knows one kind, calls itself by 24 random characters. Later ones are
        guests or have an API token, and studiolo's are too.
        """
        return self.client == EMBEDDED or _LATER_CLIENT.fullmatch(self.client) is not None

    @property
    def domain(self) -> Domain:
        """The kind of model that the namespace is about."""
        return "embedding" if self.namespace == "embedding" else "llm"


class ServerChannel(Generic[R]):
    """The host's end of a channel.

    ``on_cancel`` is what a cancel message does; while a function sets nothing there, cancelling ends the function.
    ``requests`` has the client's messages on a channel that takes others, too; they are of the type ``request``.
    """

    def __init__(self, send: Callable[[R], Awaitable[None]]) -> None:
        self.send = send
        self.on_cancel: Callable[[], None] | None = None
        self.request: Any = None
        self.requests: asyncio.Queue[Any] = asyncio.Queue(MAX_REQUESTS)
