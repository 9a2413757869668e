"""uvicorn's server as part of a program: it leaves signals alone, and does nothing while nobody asks for anything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator
from email.utils import formatdate

import uvicorn
from uvicorn.server import ServerState

Headers = list[tuple[bytes, bytes]]


class QuietServer(uvicorn.Server):
    """A server, which ends when ``should_exit`` is set on its event loop.

    uvicorn looks ten times a second whether it has to end, and makes the date of its answers once a second. That is
    most of what an idle server costs.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._exit = asyncio.Event()
        super().__init__(config)
        self.server_state = _State()

    @property
    def should_exit(self) -> bool:
        """Whether it has to end."""
        return self._exit.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if value:
            self._exit.set()
        else:
            self._exit.clear()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the program: uvicorn's handling would cut its own end short."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end."""
        self.server_state.default_headers = self.config.encoded_headers
        await self._exit.wait()


class _State(ServerState):
    """What the connections of a server share. The date in the headers of answers is made when it is asked for."""

    def __init__(self) -> None:
        self._second = 0
        self._dated: Headers = []
        super().__init__()

    @property
    def default_headers(self) -> Headers:
        """The headers of every answer."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._dated = [(b"date", formatdate(second, usegmt=True).encode()), *self._others]
        return self._dated

    @default_headers.setter
    def default_headers(self, value: Headers) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._others, self._second = value, 0
