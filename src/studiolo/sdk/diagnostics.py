"""``client.diagnostics``: watching what models are given."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

from ..protocol.diagnostics import STREAM_LOGS, LogEvent
from .background import run

if TYPE_CHECKING:
    from .async_client import AsyncClient


class AsyncDiagnosticsNamespace:
    """``client.diagnostics``: watching what models are given."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def stream_logs(self) -> AsyncGenerator[LogEvent, None]:
        """The text that each prediction gives to its model, as it happens, until the iteration is left."""
        channel = await self._client.open("diagnostics", STREAM_LOGS, None)
        try:
            while batch := await channel.receive():  # nothing may happen for days: there is no limit to the wait
                for message in batch:
                    yield message.log
        finally:
            await channel.close()


class DiagnosticsNamespace:
    """``client.diagnostics``: watching what models are given."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def stream_logs(self) -> Generator[LogEvent, None, None]:
        """See :meth:`AsyncDiagnosticsNamespace.stream_logs`."""
        channel = run(self._client.open("diagnostics", STREAM_LOGS, None))
        try:
            while batch := channel.receive_blocking(None):
                for message in batch:
                    yield message.log
        finally:
            run(channel.close())
