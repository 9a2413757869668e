"""Writes of connections, gathered: what a turn of the event loop sends is written at the end of it, all at once.

A write into a socket wakes its client's process. Of many streams that get a token each in one turn, writes between
other work take four times as long as writes one after the other, and a WebSocket with several streams needs one alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # the one of several that is always there
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Gathered:
    """The connections of one event loop that have something to be written."""

    def __init__(self) -> None:
        self._waiting: list[GatheredTransport] = []

    def add(self, transport: GatheredTransport) -> None:
        """Have a connection written at the end of this turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write_all)
        self._waiting.append(transport)

    def _write_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.flush()


class GatheredTransport:
    """A transport whose writes are gathered; all else is done by the transport beneath it.

    Parameters:
        transport: what is written to.
        gathered: the connections of the loop.
    """

    def __init__(self, transport: asyncio.Transport, gathered: Gathered) -> None:
        self._transport = transport
        self._gathered = gathered
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Take what is to be written."""
        if not data:
            return
        if not self._parts:
            self._gathered.add(self)
        self._parts.append(data)

    def flush(self) -> None:
        """Write what has been taken, if the connection is still open."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Write what has been taken, and close the connection once the client has it."""
        self.flush()
        self._transport.close()


def gathering_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with gathered writes; for WebSockets it makes way for another."""
    gathered = Gathered()

    class GatheringProtocol(AutoHTTPProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(cast("asyncio.Transport", GatheredTransport(transport, gathered)))

    return GatheringProtocol
