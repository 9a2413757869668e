"""``client.diagnostics``: watching what a host does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

from ..protocol.diagnostics import STREAM_LOGS, LogEvent, LogKind
from .background import run

if TYPE_CHECKING:
    from .async_client import AsyncClient

DEFAULT_KINDS: tuple[LogKind, ...] = ("llm.prediction.input",)


class AsyncDiagnosticsNamespace:
    """``client.diagnostics``: watching what a host does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def stream_logs(self, *kinds: LogKind) -> AsyncGenerator[LogEvent, None]:
        """Yield what happens in the host, as it happens, until the iteration is left.

        Parameters:
            kinds: the kinds of events; by default ``llm.prediction.input``, the text that each prediction gives to its
                model. The others are ``llm.prediction.output``, ``server.log`` and ``runtime.log``.
        """
        channel = await self._client.open("diagnostics", STREAM_LOGS, None)
        try:
            while batch := await channel.receive():  # nothing may happen for days: there is no limit to the wait
                for message in batch:
                    if message.log.data.type in (kinds or DEFAULT_KINDS):
                        yield message.log
        finally:
            await channel.close()


class DiagnosticsNamespace:
    """``client.diagnostics``: watching what a host does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def stream_logs(self, *kinds: LogKind) -> Generator[LogEvent, None, None]:
        """See :meth:`AsyncDiagnosticsNamespace.stream_logs`."""
        channel = run(self._client.open("diagnostics", STREAM_LOGS, None))
        try:
            while batch := channel.receive_blocking(None):
                for message in batch:
                    if message.log.data.type in (kinds or DEFAULT_KINDS):
                        yield message.log
        finally:
            run(channel.close())
