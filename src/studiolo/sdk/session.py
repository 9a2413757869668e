"""A client's session with a host: the few calls that namespaces, handles and streams need."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from ..deadline import UNLIMITED, Deadline
from ..errors import ClientError, ConnectionFailedError
from ..protocol.declarations import Channel, Rpc
from .discovery import find_token, find_transport
from .process_bound import ProcessBound
from .timeouts import silence_limit, within_limit
from .transports.base import ClientChannel, Transport

P = TypeVar("P")
R = TypeVar("R")


class Session(Protocol):
    """What namespaces, handles and streams need of a client."""

    async def call(self, namespace: str, endpoint: Rpc[P, R], parameter: P, deadline: Deadline = UNLIMITED) -> R:
        """Call an endpoint and return its result. Raise :class:`TimeLimitError` after the deadline."""
        ...

    async def open(self, namespace: str, endpoint: Channel[P, R], parameter: P) -> ClientChannel[R]:
        """Open a channel."""
        ...

    def messages(
        self, namespace: str, endpoint: Channel[P, R], parameter: P, deadline: Deadline = UNLIMITED
    ) -> AbstractAsyncContextManager[AsyncIterator[R]]:
        """Open a channel and iterate over its messages. Leaving the block early stops the host's work.

        The deadline does so, too, and raises :class:`TimeLimitError`.
        """
        ...


class HostSession(ProcessBound):
    """A session with the host that is found by address, found on the first call; see :class:`AsyncClient`."""

    def __init__(
        self, api_host: str | None, api_token: str | None, certificate_authority: str | os.PathLike[str] | None = None
    ) -> None:
        self._requested_host = api_host
        self._token = find_token(api_token)
        self._authority = certificate_authority
        self._transport: Transport | None = None
        self._closed = False
        self._lock = asyncio.Lock()
        self._lock_owner: object = None

    @property
    def address(self) -> str:
        """``"host:port"``, an ``https`` URL, or ``"embedded"``. Raises :class:`ClientError` if it is not connected."""
        if self._transport is None:
            raise ClientError("The client is not connected", suggestion="Use it in a with block, or call connect().")
        return self._transport.address

    async def connect(self, deadline: Deadline = UNLIMITED) -> None:
        """Find the host; a closed session is opened again."""
        self._closed = False
        async with deadline.enforced("connect()"):
            await self._connected()

    async def close(self) -> None:
        """Close the connections; later calls raise :class:`ConnectionFailedError`."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def call(self, namespace: str, endpoint: Rpc[P, R], parameter: P, deadline: Deadline = UNLIMITED) -> R:
        """See :meth:`Session.call`."""
        async with deadline.enforced(f"{namespace}/{endpoint.name}"):
            transport = await self._connected()
            silence_sec = silence_limit(f"the result of {namespace}/{endpoint.name}")
            return await transport.call(namespace, endpoint, parameter, silence_sec, deadline.remaining())

    async def open(self, namespace: str, endpoint: Channel[P, R], parameter: P) -> ClientChannel[R]:
        """See :meth:`Session.open`."""
        transport = await self._connected()
        return await transport.open(namespace, endpoint, parameter, silence_limit(f"{namespace}/{endpoint.name}"))

    @contextlib.asynccontextmanager
    async def messages(
        self, namespace: str, endpoint: Channel[P, R], parameter: P, deadline: Deadline = UNLIMITED
    ) -> AsyncGenerator[AsyncIterator[R], None]:
        """See :meth:`Session.messages`."""
        async with deadline.enforced(f"{namespace}/{endpoint.name}"):
            channel = await self.open(namespace, endpoint, parameter)

            async def read() -> AsyncIterator[R]:
                while batch := await channel.receive(silence_limit(f"{namespace}/{endpoint.name}")):
                    for message in batch:
                        yield message

            try:
                yield read()
            finally:
                await channel.close()

    async def _connected(self) -> Transport:
        if self._closed:
            raise ConnectionFailedError(
                "The client was closed: it must be connected to make remote calls or create channels",
                suggestion="Use it within its with block, or call connect() again.",
            )
        if self._transport is not None:
            return self._transport
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._lock_owner != owner:  # a lock of another event loop, or one held during a fork, must not be used
            self._lock, self._lock_owner = asyncio.Lock(), owner
        async with self._lock:
            if self._transport is None:
                self._transport = await within_limit(
                    find_transport(self._requested_host, self._token, self._authority), "the host to be found"
                )
            return self._transport
