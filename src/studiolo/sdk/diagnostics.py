"""``client.diagnostics``: a live log of what a host does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

from ..protocol.diagnostics import STREAM_LOGS, LogEvent, LogKind
from .background import run
from .blocking import documented_as
from .session import Session

DEFAULT_KINDS: tuple[LogKind, ...] = ("llm.prediction.input",)


class AsyncDiagnosticsNamespace:
    """``client.diagnostics``: a live log of what a host does."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def stream_logs(self, *kinds: LogKind) -> AsyncGenerator[LogEvent, None]:
        """Yield the host's events as they happen, until the iteration is left.

        Parameters:
            kinds: the kinds of events; by default ``llm.prediction.input``, the prompt of each prediction. The others
                are ``llm.prediction.output``, ``server.log`` and ``runtime.log``.
        """
        channel = await self.session.open("diagnostics", STREAM_LOGS, None)
        try:
            while batch := await channel.receive(None):  # a host may do nothing for days
                for message in batch:
                    if message.log.data.type in (kinds or DEFAULT_KINDS):
                        yield message.log
        finally:
            await channel.close()


class DiagnosticsNamespace:
    """``client.diagnostics``: a live log of what a host does."""

    def __init__(self, asynchronous: AsyncDiagnosticsNamespace) -> None:
        self._session = asynchronous.session

    @documented_as(AsyncDiagnosticsNamespace.stream_logs)
    def stream_logs(self, *kinds: LogKind) -> Generator[LogEvent, None, None]:
        channel = run(self._session.open("diagnostics", STREAM_LOGS, None))
        try:
            while batch := channel.receive_blocking(None):
                for message in batch:
                    if message.log.data.type in (kinds or DEFAULT_KINDS):
                        yield message.log
        finally:
            run(channel.close())
