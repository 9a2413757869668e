"""uvicorn's server as part of a program: it leaves signals alone, and wakes up rarely while nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

import uvicorn

TICK_SEC = 1.0
"""How often the date in the headers of answers is made again. uvicorn looks ten times a second whether it has to end,
which is most of what an idle server costs."""


class QuietServer(uvicorn.Server):
    """A server. It ends when ``should_exit`` is set, on its event loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._exit = asyncio.Event()
        super().__init__(config)

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
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SEC):
                    await self._exit.wait()
